"""The operator's API, its pure parts: how many requests, from whom, and what a change is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tenancy.admin import rates
from tenancy.admin.asked import Change
from tenancy.admin.rates import BURST_SECONDS, MAX_NAMES, Rates

steps = st.lists(st.floats(min_value=0, max_value=3), min_size=1, max_size=200)


@given(st.floats(min_value=0.1, max_value=50), steps)
def test_nobody_sends_more_than_the_burst_and_the_rate(
    per_second: float, waits: list[float]
) -> None:
    limiter, now, sent = Rates(per_second), 0.0, 0
    for wait in waits:
        now += wait
        sent += limiter.take("a", now) == 0
    assert sent <= max(BURST_SECONDS * per_second, 1) + now * per_second + 1e-6


@given(st.floats(min_value=0.1, max_value=50), steps)
def test_who_comes_when_told_passes(per_second: float, waits: list[float]) -> None:
    limiter, now = Rates(per_second), 0.0
    for wait in waits:
        now += wait
        early = limiter.take("a", now)
        if early:
            now += early + 1e-6
            assert limiter.take("a", now) == 0


@given(st.floats(min_value=0.1, max_value=50))
def test_one_name_takes_nothing_of_another(per_second: float) -> None:
    limiter = Rates(per_second)
    while not limiter.take("a", 0.0):
        pass
    assert limiter.take("b", 0.0) == 0


def test_a_charge_makes_wait_and_never_longer_than_the_burst() -> None:
    limiter = Rates(1.0)
    limiter.charge("a", 0.0, 1000.0)
    assert 0 < limiter.take("a", 0.0) <= BURST_SECONDS
    assert limiter.take("a", 1.0 + 1e-6) == 0


def test_names_without_end_take_a_bounded_memory() -> None:
    limiter = Rates(0.1)
    for number in range(2 * MAX_NAMES):
        limiter.take(str(number), 0.0)
    assert len(limiter._due) <= MAX_NAMES


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (("127.0.0.1", 5), "127.0.0.1"),
        (("::ffff:10.0.0.1", 5), "10.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:9::1", 5), "2001:db8:1:2::/64"),
        (None, "local"),
        (("/run/a.sock", None), "local"),
    ],
)
def test_an_address_is_counted_by_its_subscriber(client: Any, name: str) -> None:
    assert rates.source(client) == name


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"slug": "a", "state": "active"},
        {"state": "active", "max_connections": 3},
        {"state": "deleting"},
        {"redirect": False},
        {"redirect": False, "state": "active"},
        {"reason": "x", "slug": "a"},
        {"max_connections": 10**400},
        {"statement_timeout_seconds": float("nan")},
        {"nonsense": 1},
    ],
)
def test_a_change_that_is_none_or_several_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Change.model_validate(change)


def test_a_limit_that_is_null_is_a_change_and_one_left_out_is_none() -> None:
    assert Change.model_validate({"max_connections": None}).limits == {"max_connections": None}
    both = {"max_connections": 3, "statement_timeout_seconds": 1.5}
    assert Change.model_validate(both).limits == both
