"""What is told of a fleet: in how many queries, of a catalog of an older build, and of locks."""

import asyncio
import json
import re

import asyncpg
import pytest
from support.fleets import ASLEEP, Fleet

from tenancy.errors import MigrationRefusedError
from tenancy.migrate import Options, Outcome, Stage, plan, resume, status
from tenancy.migrate.fleet import holders
from tenancy.migrate.upgrade import catalog, lock, session
from tenancy.migrate.upgrade.session import Session


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that migrators of this process send."""
    sent: list[str] = []
    connect = session._connect

    async def counting(dsn: str, server_settings: dict[str, str]) -> asyncpg.Connection:
        conn = await connect(dsn, server_settings)
        conn.add_query_logger(lambda record: sent.append(record.query))
        return conn

    monkeypatch.setattr(session, "_connect", counting)
    return sent


# Nothing pending


async def test_with_nothing_pending_there_is_one_query_and_no_run(
    fleet: Fleet, queries: list[str]
) -> None:
    await fleet.add("acme", "globex")
    await fleet.up()
    before = await fleet.fetch("SELECT * FROM tenancy.runs")
    queries.clear()
    report = await fleet.up()
    assert len(queries) == 1
    assert (report.run_id, report.results, report.exit_code()) == (None, (), 0)
    assert await fleet.fetch("SELECT * FROM tenancy.runs") == before


async def test_tenants_ahead_of_this_build_are_told_and_there_is_no_run(
    fleet: Fleet, queries: list[str]
) -> None:
    fleet.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    await fleet.add("acme", "globex")
    await fleet.up()
    (fleet.sql / "tenant" / "0002_more.sql").unlink()
    queries.clear()
    report = await fleet.up()
    assert [r.outcome for r in report.results] == [Outcome.AHEAD] * 2
    assert len(queries) == 3  # all schemas, who has a baseline, the history that they share
    assert report.run_id is None


async def test_who_is_behind_since_when_and_why_is_one_query_for_all(
    fleet: Fleet, queries: list[str]
) -> None:
    await fleet.add(*(f"tenant-{number}" for number in range(30)))
    await fleet.execute("CREATE TABLE t_tenant_3.notes (id int)")
    await fleet.up(options=Options(canary="0"))
    await fleet.add("young")
    queries.clear()
    found = await status(fleet.settings)
    assert [step.standing.tenant for step in found.steps] == ["young", "tenant-3"]
    assert sum("tenancy.failures" in query for query in queries) == 1
    assert len(queries) < 8  # and the sums: versions, shapes, the last run, who holds its lock


# How they stand


async def test_status_tells_of_a_statement_in_doubt_and_of_a_backfill(fleet: Fleet) -> None:
    await fleet.add("acme")
    await fleet.up()
    fleet.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    await fleet.execute(
        "INSERT INTO tenancy.steps (schema_oid, version, step, schema_name, statement) "
        "SELECT 't_acme'::regnamespace, '0002', 3, 't_acme', 'x';"
        "INSERT INTO tenancy.backfills "
        "(schema_oid, version, name, schema_name, columns, done, total) "
        "SELECT 't_acme'::regnamespace, '0002', 'emails', 't_acme', '{}', 1200, 9000"
    )
    done = await fleet.asked("status")
    assert (
        ", 1 pending, statement 3 of 0002 was begun and has no end, "
        "backfill emails: 1200 of 9000 rows"
    ) in done.out
    acme = json.loads((await fleet.asked("status", "--json")).out.splitlines()[0])
    assert acme["doubt"] == {"version": "0002", "step": 3}
    assert acme["backfill"]["name"] == "emails"
    assert (acme["backfill"]["done"], acme["backfill"]["total"]) == (1200, 9000)


async def test_status_groups_those_who_stand_alike(fleet: Fleet) -> None:
    await fleet.add(*(f"tenant-{number}" for number in range(9)))
    done = await fleet.asked("status")
    first = done.out.splitlines()[0]
    assert "tenant-4 (t_tenant_4) and 4 more: at nothing since 2" in first
    assert first.endswith(", 1 pending")


async def test_a_run_under_way_is_told_with_its_process(fleet: Fleet) -> None:
    await fleet.add("acme")
    fleet.write("tenant/0002_slow.sql", "SELECT pg_sleep(30);")
    run = asyncio.create_task(fleet.up())
    await fleet.until(ASLEEP)
    done = await fleet.asked("status")
    summary = json.loads((await fleet.asked("status", "--json")).out.splitlines()[-1])
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert "a run is under way: tenancy migrate (server process " in done.out
    assert "last run: up on " in done.out
    assert "tenancy migrate" in summary["running"]
    assert (summary["last_run"]["outcome"], summary["last_run"]["command"]) == (None, "up")
    after = await fleet.asked("status")
    assert "last run: interrupted after " in after.out
    assert "under way" not in after.out


async def test_plan_tells_the_waves_and_the_parts(fleet: Fleet) -> None:
    await fleet.add(*(f"tenant-{number:02}" for number in range(30)))
    done = await fleet.asked("plan", "--wave-size", "10", "--soak", "60")
    assert "in waves: a canary of 1, then 3 waves of 10 (the last of 9), 60 s apart" in done.out
    planned = await fleet.asked("plan", "--canary", "10%", "--json")
    summary = json.loads(planned.out.splitlines()[-1])
    assert (summary["canary"], summary["waves"]) == (3, [27])
    assert summary["parts"] == [{"versions": ["0001"], "transactional": True, "parallel": 4}]
    assert "in waves" not in (await fleet.asked("plan", "--canary", "0")).out
    short = await fleet.asked("plan", "0001", "--check", "--tenant", "tenant-00")
    assert short.code == 5


# A catalog of an older build


@pytest.fixture
async def older(fresh: Fleet) -> Fleet:
    """A catalog at 0003, with a run, a tenant at the target and one that failed, of that time."""
    files = fresh.files.catalog[:3]
    async with Session(fresh.settings) as made:
        await catalog.make_catalog(made, files)
    await fresh.add("acme", "globex")
    first = fresh.files.tenant[0]
    await fresh.execute(
        "INSERT INTO tenancy.runs (host, process_id, finished_at, outcome) "
        "VALUES ('there', 7, now(), 'failed');"
        "CREATE TABLE t_acme.notes (id int);"
        "INSERT INTO tenancy.migrations "
        "(schema_oid, version, schema_name, stage, name, checksum, run_id) "
        f"SELECT 't_acme'::regnamespace, '0001', 't_acme', 'tenant', 'notes', '{first.checksum}', "
        "id FROM tenancy.runs;"
        "INSERT INTO tenancy.checkpoints (schema_oid, schema_name, stage, version, digest) "
        f"SELECT 't_acme'::regnamespace, 't_acme', 'tenant', '0001', '{first.digest}';"
        "INSERT INTO tenancy.failures "
        "(run_id, schema_oid, schema_name, version, sqlstate, place, message) "
        "SELECT id, 't_globex'::regnamespace, 't_globex', '0001', '42P07', "
        "'tenant/0001_notes.sql:1:1', 'no' FROM tenancy.runs"
    )
    return fresh


async def test_plan_and_status_work_on_an_older_catalog_and_change_nothing(older: Fleet) -> None:
    tables = await older.tables("tenancy")
    found = await plan(older.settings)
    assert [step.standing.name for step in found.steps] == ["tenancy", "t_globex"]
    done = await older.asked("status")
    assert "globex (t_globex): at nothing since 2" in done.out
    assert "tenant/0001_notes.sql:1:1: [42P07] no" in done.out
    assert "last run: failed after " in done.out
    assert "(up on there, process 7, " in done.out
    assert (await older.asked("status", "--json")).code == 0
    assert await older.tables("tenancy") == tables


async def test_an_older_catalog_is_brought_up_first_and_its_rows_stay(older: Fleet) -> None:
    report = await older.up()
    assert report.exit_code() == 0
    assert [(r.stage, r.tenant, r.outcome) for r in report.results] == [
        (Stage.CATALOG, None, Outcome.APPLIED),
        (Stage.TENANT, "globex", Outcome.APPLIED),
    ]
    assert await older.fetch("SELECT command, outcome FROM tenancy.runs ORDER BY started_at") == [
        ("up", "failed"),
        ("up", "current"),
    ]
    assert (await older.up()).run_id is None
    found = await status(older.settings)
    assert found.last_run is not None
    assert found.last_run.digest == older.files.digest


async def test_a_run_of_an_older_build_is_not_resumed(older: Fleet) -> None:
    await older.execute("UPDATE tenancy.runs SET outcome = NULL, finished_at = NULL")
    with pytest.raises(MigrationRefusedError, match="of an older build"):
        await resume(older.settings)


async def test_a_failing_catalog_stage_ends_before_there_is_a_run(older: Fleet) -> None:
    await older.execute("CREATE TABLE tenancy.work (id int)")
    report = await older.up()
    assert [(r.stage, r.outcome) for r in report.results] == [(Stage.CATALOG, Outcome.FAILED)]
    assert (report.run_id, report.exit_code(), report.left) == (None, 3, 1)


# Locks


async def test_who_finds_the_lock_taken_is_told_what_ends_its_holder(fleet: Fleet) -> None:
    async with Session(fleet.settings) as orphan:
        held = await orphan.connection()
        await lock.take_run(held)
        told = await fleet.asked("repair", "--restored")
        assert told.code == 75
        end = re.search(r"`python -m tenancy\.migrate (unlock --terminate [0-9]+)`", told.err)
        assert end is not None
        assert (await fleet.asked(*end[1].split(), "--yes")).code == 0
    assert (await fleet.asked("repair", "--restored")).code == 0


async def test_unlock_tells_who_holds_which_lock(fleet: Fleet) -> None:
    assert (await fleet.asked("unlock")).out == "no lock is held\n"
    await fleet.add("acme")
    fleet.write("tenant/0002_slow.sql", "SELECT pg_sleep(30);")
    run = asyncio.create_task(fleet.up())
    await fleet.until(ASLEEP)
    async with fleet.connection() as other:
        await other.execute(f"SELECT pg_advisory_lock({lock.CLASS}, 2147483647)")
        done = await fleet.asked("unlock")
        objects = [
            json.loads(line) for line in (await fleet.asked("unlock", "--json")).out.splitlines()
        ]
    lines = done.out.splitlines()
    assert lines[0].startswith("the run: tenancy migrate, server process ")
    assert lines[1].startswith("acme (t_acme): tenancy migrate, server process ")
    assert "a schema that is gone" in lines[2]
    assert lines[2].endswith("; no migrator of ours")
    assert [one["ours"] for one in objects] == [True, True, False]
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_unlock_ends_a_migrator_and_nobody_else(fleet: Fleet) -> None:
    async with fleet.connection() as other, Session(fleet.settings) as orphan:
        held = await orphan.connection()
        await lock.take_run(held)
        theirs, ours = other.get_server_pid(), held.get_server_pid()
        done = await fleet.asked("unlock", "--terminate", str(theirs), "--yes")
        assert (done.code, "is no migrator's in this database" in done.err) == (6, True)
        assert await other.fetchval("SELECT 1") == 1
        unsure = await fleet.asked("unlock", "--terminate", str(ours))
        assert unsure.code == 2  # nobody to ask
        assert await held.fetchval("SELECT 1") == 1
        done = await fleet.asked("unlock", "--terminate", str(ours), "--yes")
        assert (done.code, done.err) == (0, f"server process {ours} has ended\n")
        assert [one.what for one in await holders.holders(fleet.settings)] == []
