"""What sql/README.md says of the fleet: its commands, options, events and example are real."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest
from support.fleets import Fleet
from support.processes import environment, run

from tenancy.migrate.__main__ import migrate_group
from tenancy.migrate.report.outcomes import Outcome

GUIDE = (Path(__file__).parents[2] / "sql" / "README.md").read_text()


def _section(title: str) -> str:
    return re.split(r"^## ", GUIDE.split(f"\n## {title}", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


FLEET, LOOKING = _section("The fleet"), _section("Looking")
COMMANDS = re.findall(
    r"^python -m tenancy\.migrate (.*?)(?: +#.*)?$", FLEET + LOOKING, re.MULTILINE
)


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_a_command_of_the_guide_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line)
    command = migrate_group.get_command(click.Context(migrate_group), name)
    assert command is not None
    command.make_context(name, arguments)


def test_each_option_of_up_is_in_the_guide() -> None:
    up = migrate_group.get_command(click.Context(migrate_group), "up")
    assert up is not None
    options = {name for one in up.params for name in (*one.opts, *one.secondary_opts)}
    told = set(re.findall(r"--[a-z-]+", FLEET)) | {"target", "--debug"}
    assert options <= told, options - told


async def test_the_example_runs_as_written(fleet: Fleet, tmp_path: Path) -> None:
    await fleet.add("acme", "globex")
    await fleet.execute("""UPDATE tenancy.tenants SET settings = '{"plan": "free"}'""")
    (example,) = re.findall(r"```python\n(.*?)```", _section("From Python"), re.DOTALL)
    example = example.replace("soak_seconds=60", "soak_seconds=0.01")
    (tmp_path / "example.py").write_text(example)
    done = await run("example.py", env=environment(fleet.settings), cwd=tmp_path)
    assert done.code == 0, done.err
    assert "acme applied ('0001',)" in done.out
    assert await fleet.versions() == {"acme": "0001", "globex": "0001"}


async def test_the_events_have_the_keys_of_the_guide(fleet: Fleet) -> None:
    rows = re.findall(r"^\| `(\w+)`(?:, the last)? \| (.*) \|$", FLEET, re.MULTILINE)
    told = {event: set(re.findall(r"`(\w+)`", keys)) for event, keys in rows}
    await fleet.add("acme")
    done = await fleet.command("--canary", "1", "--json")
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [one["event"] for one in found] == ["started", "wave", "schema", "wave_ended", "run"]
    outcomes = set(map(str, Outcome))
    for one in found:
        assert set(one) - {"event"} - outcomes <= told[one["event"]]
    summary = json.loads((await fleet.asked("status", "--json")).out.splitlines()[-1])
    assert all(f"`{key}`" in LOOKING for key in ("versions", "shapes", "last_run", "running"))
    assert set(summary) >= {"versions", "shapes", "last_run", "running"}


ROWS = dict(re.findall(r"^\| `([a-z]+)` \| ([^|]+:[^|]+) \|$", FLEET, re.MULTILINE))
ASKED = (
    "verify --json",
    "baseline 0001 --tenant acme --json",
    "baseline 0001 --tenant globex --json",
    "repair --accept-checksum --yes --json",
    "down --to 0 --tenant acme --yes --json",
    "lint --json",
    "rehearse --json",
)


@pytest.mark.parametrize("line", ASKED)
async def test_each_key_of_the_other_commands_is_in_the_guide(fleet: Fleet, line: str) -> None:
    await fleet.add("acme")
    fleet.write(
        "tenant/0001_notes.sql", "CREATE TABLE notes (id int);\n-- migrate:down\nDROP TABLE notes;"
    )
    await fleet.up()
    await fleet.add("globex")
    if "checksum" in line:
        fleet.write("tenant/0001_notes.sql", "CREATE TABLE notes (id int); -- again")
    if "lint" in line:
        fleet.write("tenant/0002_a.sql", "SET work_mem = '1MB';")
    done = await fleet.asked(*line.split())
    objects = [json.loads(text) for text in done.out.splitlines()]
    assert objects, done
    for one in objects:
        event = one.pop("event")
        told = re.search(rf"`{event}`: ((?:`\w+`(?:, )?)+)", ROWS[line.split(maxsplit=1)[0]])
        assert told, event
        assert set(re.findall(r"\w+", told[1])) == one.keys()
