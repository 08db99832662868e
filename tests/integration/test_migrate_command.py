"""`python -m tenancy.migrate` as a process: its words, its exit codes, and what it leaves alone."""

import asyncio
import json
import os
import re
import sys

import click
import pytest
from click.testing import CliRunner
from support.fleets import NOTES, Fleet
from support.processes import environment

from tenancy.migrate.__main__ import COMMANDS, migrate_group


@pytest.fixture
async def behind(fleet: Fleet) -> Fleet:
    """Tenant acme is at the target, globex has failed, initech has nothing."""
    fleet.write("tenant/0002_tags.sql", "CREATE TABLE tags (id int);")
    await fleet.add("acme", "globex")
    await fleet.execute("CREATE TABLE t_globex.tags (id int)")
    await fleet.up()
    await fleet.add("initech")
    return fleet


async def _everything(fleet: Fleet) -> object:
    """The whole catalog, and every object of the database with the row versions of its schemas."""
    async with fleet.connection() as conn:
        tables = sorted(await fleet.tables("tenancy"))
        rows = [await conn.fetch(f"SELECT ctid, xmin, t::text FROM {name} t") for name in tables]
        objects = await conn.fetch("SELECT oid, relname, xmin FROM pg_class ORDER BY oid")
        schemas = await conn.fetch("SELECT oid, xmin, nspacl::text FROM pg_namespace ORDER BY oid")
    return rows, objects, schemas


async def test_plan_and_status_change_nothing(behind: Fleet) -> None:
    before = await _everything(behind)
    for command in (["plan"], ["plan", "--check"], ["plan", "--json"], ["status"]):
        await behind.asked(*command)
        assert await _everything(behind) == before


@pytest.mark.parametrize("command", ["plan", "status"])
async def test_an_empty_database_is_told_as_such_and_stays_empty(
    fresh: Fleet, command: str
) -> None:
    before = await _everything(fresh)
    done = await fresh.asked(command)
    assert done.code == 0
    assert "nothing applied yet" in done.out
    assert await _everything(fresh) == before


async def test_plan_names_the_files_and_the_tenants(behind: Fleet) -> None:
    done = await behind.asked("plan")
    assert done.code == 0
    assert done.out.splitlines() == [
        "initech (t_initech): to apply tenant/0001_notes.sql, tenant/0002_tags.sql",
        "globex (t_globex): to apply tenant/0002_tags.sql",
    ]


async def test_plan_check_ends_with_5_when_something_is_pending(behind: Fleet) -> None:
    assert (await behind.asked("plan", "--check")).code == 5
    assert (await behind.asked("plan", "--check", "--tenant", "acme")).code == 0


async def test_plan_ends_with_6_when_up_would_refuse(behind: Fleet) -> None:
    behind.write("tenant/0001_notes.sql", NOTES + "SELECT 1;")
    done = await behind.asked("plan")
    assert done.code == 6
    assert "acme (t_acme), globex (t_globex): tenant/0001_notes.sql: changed" in done.out


async def test_status_says_who_is_behind_since_when_and_why(behind: Fleet) -> None:
    done = await behind.asked("status")
    assert done.code == 0
    initech, globex, *versions, last = done.out.splitlines()
    assert "initech (t_initech): at nothing since 2" in initech
    assert initech.endswith(", 2 pending")
    assert "globex (t_globex): at 0001 since 2" in globex
    assert 'tenant/0002_tags.sql:1:1: [42P07] relation "tags" already exists' in globex
    assert versions == [
        f"catalog {behind.files.catalog[-1].version}: 1 schema",
        "tenant 0001: 1 schema",
        "tenant 0002: 1 schema",
    ]
    assert last.startswith("last run: failed after ")


async def test_status_tells_all_it_can_and_ends_with_6_where_a_file_is_refused(
    behind: Fleet,
) -> None:
    behind.write("tenant/0003_slip.sql", "-- migrate:up transactoin:false\nSELECT 1;")
    done = await behind.asked("status")
    assert done.code == 6
    refused = [line for line in done.out.splitlines() if line.startswith("refused file: ")]
    assert len(refused) == 1
    assert "tenant/0003_slip.sql" in refused[0]
    assert "globex (t_globex): at 0001 since 2" in done.out
    assert "tenant 0002: 1 schema" in done.out
    done = await behind.asked("status", "--json")
    told = [json.loads(line) for line in done.out.splitlines()]
    files = [one["file"] for one in told if one["event"] == "file"]
    assert (done.code, files, told[-1]["event"]) == (6, ["tenant/0003_slip.sql"], "summary")


async def test_a_refused_file_is_told_of_an_empty_database_too(fresh: Fleet) -> None:
    fresh.write("tenant/0003_slip.sql", "-- migrate:up transactoin:false\nSELECT 1;")
    done = await fresh.asked("status")
    assert (done.code, "refused file: tenant/0003_slip.sql" in done.out) == (6, True)
    assert (await fresh.asked("plan")).code == 6


async def test_a_failure_that_was_mended_is_not_told_again(behind: Fleet) -> None:
    await behind.execute("DROP TABLE t_globex.tags")
    await behind.up()
    behind.write("tenant/0003_more.sql", "CREATE TABLE more (id int);")
    done = await behind.asked("status", "--tenant", "globex")
    assert done.out.splitlines()[0].endswith(", 1 pending")


async def test_status_of_a_fleet_at_the_target_is_a_summary_by_version(fleet: Fleet) -> None:
    await fleet.add("acme", "globex")
    await fleet.up()
    done = await fleet.asked("status")
    _, tenants, last, end = done.out.splitlines()
    assert (tenants, end) == ("tenant 0001: 2 schemas", "all at the target")
    assert last.startswith("last run: current after ")


async def test_up_prints_the_sum_on_stdout_and_nothing_on_stderr(fleet: Fleet) -> None:
    await fleet.add("acme")
    done = await fleet.command("--parallel", "2")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("all at the target: 1 applied (")


async def test_up_ends_with_3_and_says_who_failed(behind: Fleet) -> None:
    done = await behind.command()
    assert done.code == 3
    assert "globex (t_globex): failed: tenant/0002_tags.sql:1:1: [42P07]" in done.out


async def test_up_ends_with_6_when_a_file_was_changed(behind: Fleet) -> None:
    behind.write("tenant/0001_notes.sql", NOTES + "SELECT 1;")
    done = await behind.command()
    assert (done.code, done.out) == (6, "")
    assert "tenant/0001_notes.sql: changed after it was applied" in done.err


async def test_a_reader_that_goes_away_is_no_fault_of_the_database(behind: Fleet) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    status = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tenancy.migrate", "status"),
        env=environment(behind.settings),
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writer)
    _, err = await asyncio.wait_for(status.communicate(), 60)
    words = err.decode().splitlines()
    assert (status.returncode, words) == (141, ["tenancy: nobody reads the output any more"])


async def test_nothing_is_ended_without_an_answer(behind: Fleet) -> None:
    done = await behind.asked("unlock", "--terminate", "1")
    assert done.code == 2
    assert "nobody answered, nothing was changed: add --yes" in done.err


@pytest.mark.parametrize("command", ["up", "plan", "status"])
async def test_json_is_one_object_per_line(behind: Fleet, command: str) -> None:
    ask = behind.command if command == "up" else behind.asked
    done = await ask(command, "--json")
    objects = [json.loads(line) for line in done.out.splitlines()]
    around = {"started", "wave", "wave_ended"} if command == "up" else set()
    assert {o["event"] for o in objects[:-1]} == {"schema"} | around
    schemas = [o for o in objects if o["event"] == "schema"]
    assert sorted(o["tenant"] for o in schemas) == ["globex", "initech"]
    assert objects[-1]["event"] in {"run", "summary"}
    failures = [o["failure"] for o in schemas if o["failure"]]
    assert [(f["sqlstate"], f["place"]) for f in failures] == [
        ("42P07", "tenant/0002_tags.sql:1:1")
    ]
    assert done.err == ""


async def test_named_tenants_alone_are_migrated(fleet: Fleet) -> None:
    await fleet.add("acme", "globex", "initech")
    done = await fleet.command("--tenant", "acme", "--tenant", "globex")
    assert done.code == 0
    assert await fleet.versions() == {"acme": "0001", "globex": "0001", "initech": None}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["up", "--tenant", "umbrella"], 2, "no tenant has the slug umbrella"),
        (["plan", "--tenant", "umbrella"], 2, "no tenant has the slug umbrella"),
        (["--parallel", "0"], 2, "--parallel"),
        (["up", "--wave-size", "0"], 2, "Invalid value for '--wave-size': 0 is no size"),
        (["plan", "--soak", "inf"], 2, "Invalid value for '--soak': inf is no time"),
        (["up", "--max-failures", "x"], 2, "'--max-failures': 'x' is neither"),
        (["status", "--state", "gone"], 2, "Invalid value for '--state': gone is no state"),
        (["up", "--strict-shape", "--no-fingerprints"], 2, "'--strict-shape' / '--fingerprints'"),
        (["plan", "--tenant", "a", "--exclude", "a"], 2, "'--tenant' / '--exclude': a is both"),
        (["--no-such-option"], 2, "no-such-option"),
        (["staus"], 2, "staus"),
    ],
)
async def test_a_wrong_word_is_told_in_one_line(
    fresh: Fleet, arguments: list[str], code: int, words: str
) -> None:
    ask = fresh.command if arguments[0] == "up" else fresh.asked
    done = await ask(*arguments)
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"TENANCY_SQL_DIR": "nowhere"}, 2),
        ({"TENANCY_DATABASE_URL": "mysql://x"}, 2),
        ({"TENANCY_PARALLEL": "4"}, 2),
        ({"TENANCY_DATABASE_URL": "postgresql://u:hunter2@h:port/d"}, 2),
        ({"TENANCY_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d"}, 4),
    ],
)
async def test_what_cannot_be_used_has_its_code_and_no_address_is_told(
    fresh: Fleet, variables: dict[str, str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.migrate.upgrade.session.CONNECT_ATTEMPTS", 1)
    done = await fresh.asked("status", **variables)
    assert done.code == code
    assert done.err.startswith("tenancy: ")
    assert len(done.err.splitlines()) == 1
    assert not {"hunter2", "127.0.0.1"} & set(re.findall(r"[\w.]+", done.err))


async def test_a_wrong_database_is_an_unfit_environment(fresh: Fleet) -> None:
    done = await fresh.asked(
        "status", TENANCY_DATABASE_URL=fresh.dsn.replace("/test_", "/no_such_")
    )
    assert done.code == 4
    assert "has no such database" in done.err


def _invoked(monkeypatch: pytest.MonkeyPatch, fleet: Fleet, *arguments: str) -> tuple[int, str]:
    for name, value in environment(fleet.settings).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(migrate_group, arguments, prog_name="migrate")
    return done.exit_code, done.stderr


def test_a_fault_of_the_migrator_is_one_line_and_with_debug_a_traceback(
    admin_dsn: str, fresh: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_settings: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("tenancy.migrate.fleet.run.load_all", broken)
    code, err = _invoked(monkeypatch, fresh)
    assert (code, err) == (
        1,
        "tenancy: a fault of ours, ZeroDivisionError: division by zero\n",
    )
    code, err = _invoked(monkeypatch, fresh, "up", "--debug")
    assert code == 1
    assert "Traceback" in err
    assert admin_dsn


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_word_of_help(command: str) -> None:
    done = CliRunner().invoke(migrate_group, [command, "--help"])
    assert done.exit_code == 0
    assert "Example" in done.output
    found = migrate_group.get_command(click.Context(migrate_group), command)
    assert found is not None
    options = [one for one in found.params if isinstance(one, click.Option)]
    assert all(getattr(option, "help", None) for option in options)


def test_the_group_says_its_exit_codes() -> None:
    done = CliRunner().invoke(migrate_group, ["--help"])
    assert "75 another run holds the lock" in done.output
