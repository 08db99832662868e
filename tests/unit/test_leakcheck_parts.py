"""The pure parts of the leak check."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.errors import SettingsError
from tenancy.leakcheck import bodies, states, views
from tenancy.leakcheck.canaries import Canaries, Canary
from tenancy.leakcheck.report import Coverage, Finding, Kind, Report

around = st.binary(max_size=20).filter(lambda text: b"canary" not in text.lower())


@given(before=around, after=around, tenant=st.sampled_from([0, 1]), capitals=st.booleans())
def test_a_word_is_found_in_whatever_is_around_it(
    before: bytes, after: bytes, tenant: int, capitals: bool
) -> None:
    canaries = Canaries(random.Random(1))
    put = Canary(tenant, "notes.body")
    word = canaries.text(put)
    data = before + (word.upper() if capitals else word).encode() + after
    assert canaries.found(data) == {put}


def test_numbers_and_uuids_are_found_whole_only() -> None:
    canaries = Canaries(random.Random(1))
    put = Canary(1, "notes.amount")
    number, uuid = canaries.number(put), canaries.uuid(put)
    for text in (number, uuid):
        assert canaries.found(f'{{"x": {text}}}'.encode()) == {put}
    assert canaries.found(f"9{number}".encode()) == set()
    assert canaries.found(f"{number}9".encode()) == set()


@given(data=st.binary(max_size=200))
def test_other_data_holds_no_canary(data: bytes) -> None:
    canaries = Canaries(random.Random(1))
    canaries.text(Canary(0, "notes.body"))
    assert canaries.found(data) == set()


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "word"),
        ({"type": "string", "minLength": 6}, "wordxx"),
        ({"type": "string", "maxLength": 2}, "wo"),
        ({"type": "string", "format": "email"}, "word@example.com"),
        ({"type": ["null", "string"]}, "word"),
        ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 5}]}, 5),
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"type": "integer", "maximum": 0}, 0),
        ({"enum": ["b", "c"]}, "b"),
        ({"const": 3}, 3),
        ({"type": "array", "minItems": 2, "items": {"type": "boolean"}}, [True, True]),
        (
            {"allOf": [{"properties": {"a": {"type": "null"}}}, {"properties": {"b": {}}}]},
            {"a": None, "b": "word"},
        ),
    ],
)
def test_an_example_fits_its_schema(schema: dict[str, Any], value: object) -> None:
    assert bodies.example(schema, lambda _: "word") == value


def test_a_schema_that_refers_to_itself_ends() -> None:
    document = {"Node": {"type": "object", "properties": {"next": {"$ref": "#/Node"}}}}
    assert bodies.example(views.expanded(document, {"$ref": "#/Node"}), lambda _: "word")


def test_a_view_is_one_however_its_parameters_are_called() -> None:
    (view,) = views.merged(
        [views.View("GET", "/notes/{note_id}")], views.of_options(["get /notes/{id}"])
    )
    assert view.parameters == ["id"]
    with pytest.raises(SettingsError, match="is no request"):
        views.of_options(["/notes"])
    assert views.of_openapi(b"<html>") == views.of_openapi(b"[]") == []


def test_a_difference_is_from_the_nearest_picture() -> None:
    expected = [{"role": "app"}, {"setting jit": "off"}]
    assert states.differences(expected, {"setting jit": "off"}) == {}
    assert states.differences(expected, {"setting jit": "off", "role": "x"}) == {"role": ("", "x")}
    assert states.differences(expected, {}) != {}


def test_a_report_that_checked_nothing_is_not_clean() -> None:
    report = Report(seed=1, views={"GET /": Coverage(good={0, 1})})
    assert (report.is_clean, report.exit_code) == (False, 8)
    report.witnessed = 1
    assert (report.is_clean, report.exit_code) == (True, 0)
    report.uncovered = {"WEBSOCKET /ws": "websockets are not asked"}
    assert report.is_clean
    report.all_views = True
    assert (report.is_clean, report.exit_code) == (False, 8)
    report.findings.append(Finding(Kind.STATE, "#1 GET / as a", "role"))
    assert report.exit_code == 7
