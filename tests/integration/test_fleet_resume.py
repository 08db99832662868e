"""A run that was cut off, and is gone on with; a run that two processes share; lost locks."""

import asyncio
import json
import re
import signal
from uuid import uuid4

import pytest
from support.fleets import ASLEEP, Fleet, ended, kill

from tenancy.errors import MigrationRefusedError
from tenancy.migrate import Options, Report, resume
from tenancy.migrate.report.events import RunEvent, Started
from tenancy.migrate.report.outcomes import Ending
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.session import APPLICATION_NAME

RUN_LOCK = f"pid IN (SELECT pid FROM pg_locks WHERE classid = {lock.CLASS} AND objid = {lock.RUN})"
SLUGS = [f"tenant-{number:02}" for number in range(12)]
VERSIONS = ("0001", "0002")
GONE = (
    "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() "
    f"AND application_name = '{APPLICATION_NAME}'"
)
SLOW, BROKEN = "t_tenant_05", "t_tenant_07"


@pytest.fixture
async def dozen(fresh: Fleet) -> Fleet:
    """Tenants tenant-00 to tenant-11; tables say where their file takes long, or fails."""
    fresh.write("shared/0001_naps.sql", "CREATE TABLE naps (at text); CREATE TABLE odd (at text);")
    (await fresh.up()).raise_for_failures()
    await fresh.add(*SLUGS)
    fresh.write(
        "tenant/0002_slow.sql",
        "DO $$ BEGIN WHILE EXISTS (SELECT FROM naps WHERE at = current_schema()) LOOP "
        "PERFORM pg_sleep(0.05); END LOOP; END $$;"
        "SELECT 1 / (length(at) - length(at)) FROM odd WHERE at = current_schema();",
    )
    return fresh


async def _nap(fleet: Fleet, schema: str = SLOW) -> None:
    await fleet.execute(f"INSERT INTO shared.naps VALUES ('{schema}')")


async def _wake(fleet: Fleet) -> None:
    await fleet.execute("DELETE FROM shared.naps; DELETE FROM shared.odd")


async def _assert_once(fleet: Fleet, slugs: int = len(SLUGS)) -> None:
    assert set((await fleet.versions()).values()) == {"0002"}
    rows = await fleet.fetch(
        "SELECT count(*), count(DISTINCT (schema_oid, version)) FROM tenancy.migrations "
        "WHERE stage = 'tenant'"
    )
    assert rows == [(2 * slugs, 2 * slugs)]


async def _runs(fleet: Fleet) -> list[tuple[object, ...]]:
    runs = "SELECT command, outcome FROM tenancy.runs ORDER BY started_at"
    return (await fleet.fetch(runs))[1:]  # the first one made the shared schema


async def _at(fleet: Fleet, count: int) -> None:
    await fleet.until(f"SELECT count(*) >= {count} FROM tenancy.checkpoints WHERE version = '0002'")


# Resumed


async def _interrupted(fleet: Fleet) -> Report:
    """A run in waves of 4 that is interrupted in the middle of the second one."""
    await _nap(fleet)
    stop = asyncio.Event()
    options = Options(canary="0", wave_size="4", grace_seconds=0.0)
    run = asyncio.create_task(fleet.up(options=options, stop=stop))
    await _at(fleet, 7)
    stop.set()
    report = await run
    await fleet.until(GONE)  # the server has noticed
    await _wake(fleet)
    return report


async def test_a_run_is_resumed_with_its_options_and_in_its_order(dozen: Fleet) -> None:
    assert (await _interrupted(dozen)).ending is Ending.INTERRUPTED
    await dozen.add("aaron")  # first in the alphabet, but not on the list
    events: list[RunEvent] = []
    report = await resume(dozen.settings, observe=events.append)
    assert report.exit_code() == 0
    order = [str(result.tenant) for result in report.results]
    assert (order[0], set(order[1:-1]), order[-1]) == ("tenant-05", set(SLUGS[8:]), "aaron")
    (started,) = [event for event in events if isinstance(event, Started)]
    assert (started.command, started.schemas, started.waves) == ("resume", 6, 3)
    await _assert_once(dozen, 13)
    assert await _runs(dozen) == [("up", "interrupted"), ("resume", "current")]
    assert await dozen.fetch("SELECT * FROM tenancy.work") == []
    with pytest.raises(MigrationRefusedError, match="nothing to resume"):
        await resume(dozen.settings)


async def test_a_run_that_was_killed_is_resumed_by_the_command(dozen: Fleet) -> None:
    await _nap(dozen)
    run = await dozen.start("--wave-size", "4", "--parallel", "2")
    await _at(dozen, 7)
    await kill(run)
    status = await dozen.asked("status")
    assert "last run: killed, or cut off (up on " in status.out
    named = re.search(r"`resume ([0-9a-f-]{36})` goes on with it", status.out)
    assert named is not None
    await _wake(dozen)
    done = await dozen.command("resume", named[1], "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out.splitlines()[0])["command"] == "resume"
    await _assert_once(dozen)


async def test_up_after_a_kill_does_what_is_pending(dozen: Fleet) -> None:
    await _nap(dozen)
    run = await dozen.start("--wave-size", "4")
    await _at(dozen, 7)
    await kill(run)
    await _wake(dozen)
    assert (await dozen.up()).exit_code() == 0
    await _assert_once(dozen)
    with pytest.raises(MigrationRefusedError, match="nothing to resume"):
        await resume(dozen.settings)  # that up has made up for it


async def test_a_stopped_run_is_resumed_where_it_was_mended(dozen: Fleet) -> None:
    await dozen.execute(f"INSERT INTO shared.odd VALUES ('{BROKEN}')")
    options = Options(canary="tenant-07")
    assert (await dozen.up(options=options)).ending is Ending.STOPPED
    again = await resume(dozen.settings)
    assert (again.ending, len(again.results)) == (Ending.STOPPED, 1)  # still not mended
    await _wake(dozen)
    report = await resume(dozen.settings)
    assert (report.results[0].tenant, report.exit_code()) == ("tenant-07", 0)
    await _assert_once(dozen)


async def test_a_trial_with_one_tenant_does_not_make_up_for_a_run(dozen: Fleet) -> None:
    await _interrupted(dozen)
    await dozen.up(tenants=["tenant-05"])
    assert len((await resume(dozen.settings)).results) == 4


async def test_nothing_is_resumed_with_other_files(dozen: Fleet) -> None:
    await _interrupted(dozen)
    dozen.write("tenant/0003_more.sql", "CREATE TABLE more (id int);")
    done = await dozen.command("resume")
    assert done.code == 6
    assert "the files have changed since run" in done.err
    assert (await dozen.versions())["tenant-11"] is None


async def test_what_cannot_be_resumed_is_told(fresh: Fleet) -> None:
    done = await fresh.command("resume")
    assert (done.code, "nothing was applied yet" in done.err) == (6, True)
    report = await fresh.up()
    done = await fresh.command("resume")
    assert (done.code, "nothing to resume" in done.err) == (6, True)
    with pytest.raises(MigrationRefusedError, match="it is current"):
        await resume(fresh.settings, report.run_id)
    with pytest.raises(MigrationRefusedError, match="there is no run"):
        await resume(fresh.settings, uuid4())
    assert (await fresh.command("resume", "soon")).code == 2


# Signals


async def test_a_signal_ends_the_soak_at_once(dozen: Fleet) -> None:
    run = await dozen.start("--canary", "1", "--soak", "600", "--json")
    assert run.stdout is not None
    async with asyncio.timeout(20):
        while b"wave_ended" not in await run.stdout.readline():
            pass
    run.send_signal(signal.SIGTERM)
    done = await ended(run)
    assert done.code == 143
    assert json.loads(done.out.splitlines()[-1])["left"] == 11


# Shared


async def _assert_shared(fleet: Fleet, *reports: Report) -> None:
    assert [report.exit_code() for report in reports] == [0] * len(reports)
    applied = [
        (str(result.tenant), version)
        for report in reports
        for result in report.results
        for version in result.applied
    ]
    assert sorted(applied) == sorted((slug, version) for slug in SLUGS for version in VERSIONS)
    await _assert_once(fleet)


async def _joined(fleet: Fleet, **options: int) -> asyncio.Task[Report]:
    """A run that has joined the one under way."""
    joined = asyncio.Event()

    def observe(event: RunEvent) -> None:
        if isinstance(event, Started) and event.command == "join":
            joined.set()

    run = asyncio.create_task(fleet.up(options=Options(join=True, **options), observe=observe))  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        await joined.wait()
    return run


async def test_two_processes_share_a_run_and_do_each_schema_once(dozen: Fleet) -> None:
    await _nap(dozen)
    first = asyncio.create_task(dozen.up(parallel=1))
    await dozen.until(ASLEEP)
    second = await _joined(dozen, parallel=2)
    await _at(dozen, 11)  # all but the one that the first is at
    assert not first.done()
    assert not second.done()  # it waits with the first
    await _wake(dozen)
    reports = await asyncio.gather(first, second)
    await _assert_shared(dozen, *reports)
    assert await _runs(dozen) == [("up", "current")]


async def test_three_processes_started_together_share_the_run(dozen: Fleet) -> None:
    runs = [await dozen.start("--join", "--parallel", "2", "--json") for _ in range(3)]
    done = await asyncio.gather(*(ended(run) for run in runs))
    assert [one.code for one in done] == [0, 0, 0], done
    applied = [
        o["tenant"]
        for one in done
        for o in map(json.loads, one.out.splitlines())
        if o["event"] == "schema"
    ]
    assert sorted(applied) == sorted(SLUGS)
    await _assert_once(dozen)


async def test_who_has_joined_does_not_go_beyond_the_wave_that_is_open(dozen: Fleet) -> None:
    options = Options(canary="2", soak_seconds=600)
    stop = asyncio.Event()
    first = asyncio.create_task(dozen.up(options=options, stop=stop))
    await _at(dozen, 2)
    second = await _joined(dozen)
    await asyncio.sleep(0.5)
    assert sum(version is not None for version in (await dozen.versions()).values()) == 2
    stop.set()
    assert (await first).ending is Ending.INTERRUPTED
    report = await second  # it does not go on alone
    assert (report.results, report.exit_code(), report.left) == ((), 7, 10)


async def test_a_run_is_not_joined_with_other_files(dozen: Fleet) -> None:
    await _nap(dozen)
    first = asyncio.create_task(dozen.up())
    await dozen.until(ASLEEP)
    dozen.write("tenant/0003_more.sql", "CREATE TABLE more (id int);")
    done = await dozen.command("--join")
    assert (done.code, "has other files than these" in done.err) == (6, True)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_who_has_joined_leads_when_the_leader_was_killed(dozen: Fleet) -> None:
    await _nap(dozen)
    leader = await dozen.start("--parallel", "1", "--wave-size", "6", "--canary", "0")
    await dozen.until(ASLEEP)
    second = await _joined(dozen, parallel=1)
    await kill(leader)
    await _wake(dozen)
    report = await second
    assert report.exit_code() == 0
    await _assert_once(dozen)
    assert await _runs(dozen) == [("up", "current")]


# The lock


async def test_a_run_lock_that_was_lost_is_taken_again(dozen: Fleet) -> None:
    await _nap(dozen)
    run = asyncio.create_task(dozen.up())
    await dozen.until(ASLEEP)
    ((before,),) = await dozen.fetch(
        "SELECT server_process FROM tenancy.runs WHERE outcome IS NULL"
    )
    await dozen.end_sessions(RUN_LOCK)
    await dozen.until(
        f"SELECT server_process <> {before} AND EXISTS (SELECT FROM pg_locks WHERE {RUN_LOCK} "
        "AND pid = server_process) FROM tenancy.runs WHERE outcome IS NULL"
    )
    await _wake(dozen)
    assert (await run).exit_code() == 0
    await _assert_once(dozen)
