"""Ranges of checkpoints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy import Tenancy
from tenancy.errors import InvalidVersionsError
from tenancy.settings import Settings
from tenancy.versions import ALL, Versions, parse


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=0007", ["0007", "0008", "9999"], ["0006", "0000", None, "", "x", "-7", "٠٠٠٧"]),
        (">=0007,<=0009", ["0007", "0009"], ["0006", "0010", None]),
        (">0006, <0010", ["0007", "0009"], ["0006", "0010"]),
        ("==0008", ["0008"], ["0007", "0009", None]),
        ("<=0009", ["0000", "0009"], ["0010", None]),
        (">=0003,>=0007", ["0007"], ["0003"]),
        (">=20260101120000", ["20260101120000"], ["20251231235959"]),
    ],
)
def test_a_range_holds_its_versions(
    text: str, inside: list[str], outside: list[str | None]
) -> None:
    assert [version for version in inside if version not in parse(text)] == []
    assert [version for version in outside if version in parse(text)] == []


@pytest.mark.parametrize("version", ["0001", None, "odd"])
def test_a_build_that_states_nothing_serves_all(version: str | None) -> None:
    assert version in ALL


@pytest.mark.parametrize(
    "text",
    ["", " ", ",", "0007", ">=", "=>7", ">=7,", "~=7", ">=0007 <=0009", ">=-1", ">=1.2", ">=x",
     ">=0009,<=0007", "==1,==2", ">7,<8", "<0", ">=" + "9" * 31],
)  # fmt: skip
def test_nonsense_stops_the_start(text: str) -> None:
    with pytest.raises(InvalidVersionsError, match=">=0007"):
        parse(text)
    with pytest.raises(ValueError, match="versions"):
        Settings(versions=text)
    with pytest.raises(InvalidVersionsError):
        Tenancy(settings=Settings(), versions=text)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_a_range_is_in_the_order_of_the_files(first: int, last: int, version: int) -> None:
    if first > last:
        with pytest.raises(InvalidVersionsError):
            parse(f">={first:02},<={last:02}")
        return
    held = f"{version:02}" in parse(f">={first:02},<={last:02}")
    assert held == (f"{first:02}" <= f"{version:02}" <= f"{last:02}")
    assert parse(str(Versions(first, last))) == Versions(first, last)
