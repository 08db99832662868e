"""The commands of `verify`, `baseline` and `repair` that sql/README.md shows can be run."""

import re
import shlex

import pytest
from support.databases import SQL
from support.fleets import Fleet

GUIDE = (SQL / "README.md").read_text()
COMMANDS = sorted(
    set(
        re.findall(
            r"^python -m tenancy\.migrate ((?:verify|baseline|repair)\b.*)", GUIDE, re.MULTILINE
        )
    )
)


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_of_the_guide_is_understood(fleet: Fleet, command: str) -> None:
    for version in ("0012", "0042"):
        fleet.write(f"tenant/{version}_more.sql", f"CREATE TABLE of_{version} ();")
    await fleet.add("acme", "globex")
    await fleet.up()
    done = await fleet.asked(*shlex.split(command, comments=True))
    known = command.startswith("baseline") and "--all" not in command
    assert done.code == (6 if known else 0), done.out + done.err


def test_the_guide_shows_all_of_them() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"verify", "baseline", "repair"}
