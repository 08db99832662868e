"""What the guide says of states, names and domains: its commands and settings are real."""

import re
from pathlib import Path

import pytest
from support.trees import examples, parse

from tenancy.provision.states import TRANSITIONS
from tenancy.settings import Settings, variable
from tenancy.tenant import State

GUIDE = (Path(__file__).parents[2] / "tenancy" / "provision" / "README.md").read_text()


def _section(title: str) -> str:
    return re.split(r"^## ", GUIDE.split(f"\n## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[
        0
    ]


STATES, NAMES = _section("States"), _section("Names and domains")


@pytest.mark.parametrize("line", examples(STATES + NAMES))
def test_a_command_of_the_guide_is_understood(line: str) -> None:
    assert parse(line).name


def test_each_command_of_these_is_in_the_guide() -> None:
    named = {str(parse(line).name) for line in examples(STATES + NAMES)}
    steps = {str(step).replace("_", "-") for step in TRANSITIONS}
    assert named == steps | {"rename", "add", "verify", "primary", "list", "remove"}


def test_each_state_is_in_the_guides_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", STATES, re.MULTILINE)
    assert sorted(rows) == sorted(State)


def test_the_settings_that_the_guide_names_are_settings() -> None:
    known = {variable(field) for field in Settings.model_fields}
    assert set(re.findall(r"TENANCY_[A-Z_]+", STATES + NAMES)) <= known
