"""A tenant's limits: whatever is in the row, the tenant is served."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.fairness import limits
from tenancy.fairness.limits import NONE, Limits

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
NAMES = st.sampled_from([limits.STATEMENT_TIMEOUT, limits.MAX_CONNECTIONS, "theme"])


@given(st.dictionaries(NAMES, ANYTHING))
def test_whatever_the_row_holds_the_limits_are_usable(members: dict[str, object]) -> None:
    found = limits.read(json.dumps(members), "acme")
    seconds, connections = found.statement_timeout_seconds, found.max_connections
    assert seconds is None or 0.001 <= seconds <= 86_400
    assert connections is None or (type(connections) is int and 1 <= connections <= 1000)


@given(st.text())
def test_a_text_that_is_no_json_is_no_limit(text: str) -> None:
    assert isinstance(limits.read(text, "acme"), Limits)


@pytest.mark.parametrize(
    "text", [None, "{}", "[]", "3", '"x"', "nonsense", "[" * 100_000, "9" * 5000]
)
def test_what_is_no_object_is_no_limit(text: str | None) -> None:
    assert limits.read(text, "acme") == NONE


def test_what_makes_sense_is_taken() -> None:
    text = '{"statement_timeout_seconds": 0.5, "max_connections": 3, "theme": "dark"}'
    assert limits.read(text, "acme") == Limits(0.5, 3)


@pytest.mark.parametrize(
    "value", ["5", "5; DROP SCHEMA x", True, 0, -1, 1e9, 1e400, [5], {"seconds": 5}]
)
@pytest.mark.parametrize("name", [limits.STATEMENT_TIMEOUT, limits.MAX_CONNECTIONS])
def test_nonsense_is_logged_and_is_no_limit(
    caplog: pytest.LogCaptureFixture, name: str, value: object
) -> None:
    with caplog.at_level(logging.ERROR):
        assert limits.read(json.dumps({name: value}), "acme") == NONE
    assert name in caplog.text
    assert "tenants limit" in caplog.text
    assert "DROP" not in caplog.text
