"""Killed, stopped, or run twice at once: nothing is half done, and nothing is done twice."""

import asyncio
import contextlib
import random
import signal

import asyncpg
import pytest
from support.fleets import ASLEEP, Fleet, ended, kill

from tenancy.migrate import Outcome
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.checkpoints import AlreadyAppliedError
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.report.outcomes import Ending
from tenancy.migrate.upgrade import catalog, lock, runner
from tenancy.migrate.upgrade.lock import RunLockHeldError
from tenancy.migrate.upgrade.runner import Upgrade
from tenancy.migrate.upgrade.session import Session

RUN_LOCK = f"pid IN (SELECT pid FROM pg_locks WHERE classid = {lock.CLASS} AND objid = {lock.RUN})"


async def _schema(fleet: Fleet, name: str) -> SchemaRef:
    async with fleet.connection() as conn:
        found = await checkpoints.schema(conn, name)
    assert found is not None
    return found


# Killed


async def test_kill_9_leaves_no_schema_half_way_and_the_next_run_goes_on(fleet: Fleet) -> None:
    slugs = [f"tenant-{number:03}" for number in range(60)]
    await fleet.add(*slugs)
    fleet.write(
        "tenant/0002_a.sql",
        "CREATE TABLE a (n int); INSERT INTO a VALUES (1); CREATE TABLE b (n int);",
    )
    fleet.write("tenant/0003_add.sql", "UPDATE a SET n = n + 1; CREATE TABLE c (n int);")
    random.seed(7)
    killed_amid = 0
    for attempt in range(4):
        run = await fleet.start("--parallel", "4")
        await fleet.until(f"SELECT count(*) > {1 + attempt * 12} FROM tenancy.checkpoints")
        await asyncio.sleep(random.uniform(0, 0.03))
        await kill(run)
        killed_amid += 0 < await _assert_whole(fleet) < len(slugs)
    done = await fleet.command("--parallel", "4")
    assert (done.code, done.err) == (0, "")
    assert await _assert_whole(fleet) == len(slugs)
    assert set((await fleet.versions()).values()) == {"0003"}
    assert killed_amid


async def _assert_whole(fleet: Fleet) -> int:
    """Compare every schema's tables with its checkpoint; return how many have all files."""
    expected = {
        None: set(),
        "0001": {"notes"},
        "0002": {"notes", "a", "b"},
        "0003": {"notes", "a", "b", "c"},
    }
    # In one statement: a COMMIT that was on its way may land between two.
    rows = await fleet.fetch(
        "SELECT n.nspname, c.version, ARRAY (SELECT relname::text FROM pg_class "
        "WHERE relnamespace = n.oid AND relkind = 'r') FROM tenancy.tenants t "
        "JOIN pg_namespace n ON n.nspname = t.schema_name "
        "LEFT JOIN tenancy.checkpoints c ON c.schema_oid = n.oid"
    )
    for schema, version, tables in rows:
        assert (schema, set(tables)) == (schema, expected[version])
    complete = [schema for schema, version, _ in rows if version == "0003"]
    if complete:
        union = " UNION ALL ".join(f"SELECT n FROM {schema}.a" for schema in complete)
        assert set(await fleet.fetch(union)) == {(2,)}
    return len(complete)


async def test_a_killed_runs_statement_is_dropped_and_its_lock_free_within_a_second(
    fleet: Fleet,
) -> None:
    await fleet.add("acme")
    fleet.write("tenant/0002_slow.sql", "SELECT pg_sleep(30);")
    run = await fleet.start()
    await fleet.until(ASLEEP)
    await kill(run)
    (fleet.sql / "tenant" / "0002_slow.sql").write_text("CREATE TABLE quick (id int);")
    async with asyncio.timeout(5):
        assert (await fleet.up()).exit_code() == 0
    assert await fleet.fetch("SELECT outcome FROM tenancy.runs ORDER BY started_at") == [
        ("current",),
        (None,),
        ("current",),
    ]


# Stopped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_the_first_signal_lets_those_under_way_finish(
    fleet: Fleet, number: signal.Signals, code: int
) -> None:
    await fleet.add("acme", "globex", "initech")
    fleet.write("tenant/0002_slow.sql", "SELECT pg_sleep(1);")
    run = await fleet.start("--parallel", "1")
    await fleet.until(ASLEEP)
    run.send_signal(number)
    done = await ended(run)
    assert done.code == code
    assert "interrupted: 1 applied, 2 left" in done.out
    assert await fleet.versions() == {"acme": "0002", "globex": None, "initech": None}
    outcomes = await fleet.fetch(
        "SELECT outcome FROM tenancy.runs ORDER BY started_at DESC LIMIT 1"
    )
    assert outcomes == [("interrupted",)]


async def test_after_the_grace_those_under_way_are_rolled_back(fleet: Fleet) -> None:
    await fleet.add("acme")
    fleet.write("tenant/0002_slow.sql", "CREATE TABLE half (id int); SELECT pg_sleep(30);")
    run = await fleet.start("--grace", "0.2")
    await fleet.until(ASLEEP)
    run.send_signal(signal.SIGTERM)
    done = await ended(run)
    assert (done.code, "1 left" in done.out) == (143, True)
    assert await fleet.tables() == {"t_acme.notes"}
    assert await fleet.fetch("SELECT count(*) FROM tenancy.failures") == [(0,)]


async def test_the_second_signal_cancels_at_once(fleet: Fleet) -> None:
    await fleet.add("acme")
    fleet.write("tenant/0002_slow.sql", "CREATE TABLE half (id int); SELECT pg_sleep(30);")
    run = await fleet.start()
    await fleet.until(ASLEEP)
    run.send_signal(signal.SIGINT)
    await asyncio.sleep(0.3)
    run.send_signal(signal.SIGINT)
    done = await ended(run)
    assert done.code == 130
    assert "Traceback" not in done.err
    outcomes = await fleet.fetch(
        "SELECT outcome FROM tenancy.runs ORDER BY started_at DESC LIMIT 1"
    )
    assert outcomes == [("interrupted",)]
    assert await fleet.tables() == {"t_acme.notes"}


async def test_a_stop_before_the_first_tenant_applies_nothing_to_any(fleet: Fleet) -> None:
    await fleet.add("acme")
    stop = asyncio.Event()
    stop.set()
    report = await fleet.up(stop=stop)
    assert (report.ending, report.left) == (Ending.INTERRUPTED, 1)
    assert await fleet.versions() == {"acme": None}


# Twice at once


async def test_a_second_run_ends_with_75_and_names_the_first(fleet: Fleet) -> None:
    await fleet.add("acme")
    fleet.write("tenant/0002_slow.sql", "SELECT pg_sleep(30);")
    run = asyncio.create_task(fleet.up())
    await fleet.until(ASLEEP)
    done = await fleet.command()
    assert done.code == 75
    assert "tenancy migrate (server process " in done.err
    assert "connected since 2" in done.err
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    outcomes = await fleet.fetch(
        "SELECT outcome FROM tenancy.runs ORDER BY started_at DESC LIMIT 1"
    )
    assert outcomes == [("interrupted",)]


async def test_two_first_runs_make_one_catalog(fresh: Fleet) -> None:
    async def make() -> list[str]:
        async with Session(fresh.settings) as session:
            return await catalog.make_catalog(session, fresh.files.catalog)

    versions = [migration.version for migration in fresh.files.catalog]
    assert sorted(await asyncio.gather(make(), make(), make())) == [[], [], versions]


async def test_two_runs_at_once_on_an_empty_database_leave_it_whole(fresh: Fleet) -> None:
    results = await asyncio.gather(*(fresh.up() for _ in range(3)), return_exceptions=True)
    assert all(isinstance(r, RunLockHeldError) or r.exit_code() == 0 for r in results)  # type: ignore[union-attr]
    assert (await fresh.up()).results == ()


@pytest.fixture
async def counted(fleet: Fleet) -> list[SchemaRef]:
    """Tenants whose second file counts how often it has been applied."""
    names = await fleet.add(*(f"tenant-{number}" for number in range(10)))
    fleet.write("tenant/0001_notes.sql", "CREATE TABLE hits (n int); INSERT INTO hits VALUES (0);")
    fleet.write("tenant/0002_hit.sql", "UPDATE hits SET n = n + 1;")
    return [await _schema(fleet, name) for name in names]


async def _hits(fleet: Fleet, schemas: list[SchemaRef]) -> set[tuple[object, ...]]:
    return set(
        await fleet.fetch(" UNION ALL ".join(f"SELECT n FROM {s.name}.hits" for s in schemas))
    )


async def test_two_runs_racing_without_the_run_lock_apply_once(
    fleet: Fleet, counted: list[SchemaRef]
) -> None:
    async def race() -> int:
        applied = 0
        async with Session(fleet.settings) as session:
            for schema in random.sample(counted, len(counted)):
                upgrade = Upgrade(session, schema, fleet.files.tenant, None, shared="shared")
                await upgrade.run()
                applied += len(upgrade.applied)
        return applied

    assert sum(await asyncio.gather(*(race() for _ in range(4)))) == 2 * len(counted)
    assert await _hits(fleet, counted) == {(1,)}


async def test_two_runs_racing_without_any_lock_apply_once(
    fleet: Fleet, counted: list[SchemaRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def unlocked(_conn: asyncpg.Connection, _oid: int):  # type: ignore[no-untyped-def] # noqa: ANN202
        yield

    monkeypatch.setattr(lock, "held", unlocked)

    async def race() -> None:
        async with Session(fleet.settings) as session:
            for schema in counted:
                with contextlib.suppress(Exception):  # the ledger is what is tested
                    await Upgrade(session, schema, fleet.files.tenant, None, shared="shared").run()

    await asyncio.gather(*(race() for _ in range(4)))
    await fleet.up()
    assert await _hits(fleet, counted) == {(1,)}


async def test_of_two_transactions_with_one_file_the_second_applies_nothing(
    fleet: Fleet, counted: list[SchemaRef]
) -> None:
    first, second = counted[0], fleet.files.tenant[0]
    async with fleet.connection() as one, fleet.connection() as two:
        winner, loser = one.transaction(), two.transaction()
        await winner.start()
        await loser.start()
        await runner.apply(one, first, second, None, shared="shared")
        late = asyncio.create_task(runner.apply(two, first, second, None, shared="shared"))
        await asyncio.sleep(0.1)
        assert not late.done()
        await winner.commit()
        with pytest.raises(AlreadyAppliedError):
            await late
        await loser.rollback()


async def test_no_file_is_applied_to_a_schema_that_does_not_stand_before_it(
    fleet: Fleet, counted: list[SchemaRef]
) -> None:
    fleet.write("tenant/0003_hit.sql", "UPDATE hits SET n = n + 1;")
    first, second, third = fleet.files.tenant
    async with fleet.connection() as conn:
        async with conn.transaction():
            await runner.apply(conn, counted[0], first, None, shared="shared")
        for schema, migration in ((counted[0], third), (counted[1], second)):
            async with conn.transaction():
                await conn.execute(f"CREATE TABLE IF NOT EXISTS {schema.name}.hits (n int)")
                with pytest.raises(AlreadyAppliedError, match="does not stand before"):
                    await runner.apply(conn, schema, migration, None, shared="shared")


async def test_a_question_is_asked_again_when_its_connection_is_lost(fleet: Fleet) -> None:
    asked: list[int] = []

    async def question(conn: asyncpg.Connection) -> int:
        asked.append(await conn.fetchval("SELECT pg_backend_pid()"))
        if len(asked) == 1:
            await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return len(asked)

    async with Session(fleet.settings) as session:
        assert await session.query(question) == 2
    assert len(set(asked)) == 2


async def test_a_schema_locked_by_somebody_else_fails_with_their_name(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SCHEMA_WAIT_SECONDS", 0.1)
    await fleet.add("acme", "globex")
    schema = await _schema(fleet, "t_acme")
    conn = await asyncpg.connect(fleet.dsn, server_settings={"application_name": "a colleague"})
    await conn.execute(f"SELECT pg_advisory_lock({lock.CLASS}, {schema.oid})")
    report = await fleet.up()
    await conn.close()
    assert {r.tenant: r.outcome for r in report.results} == {
        "acme": Outcome.FAILED,
        "globex": Outcome.APPLIED,
    }
    assert "locked by a colleague" in next(r.why for r in report.results if r.tenant == "acme")


@pytest.mark.parametrize("oid", [2**31 - 1, 2**31, 2**32 - 1])
async def test_every_oid_can_be_a_key(fleet: Fleet, oid: int) -> None:
    async with fleet.connection() as conn, lock.held(conn, oid):
        assert "server process" in await lock.holder(conn, oid)
        rows = await conn.fetch("SELECT objid FROM pg_locks WHERE locktype = 'advisory'")
        assert oid in {row["objid"] for row in rows}


async def test_a_run_lock_taken_over_while_away_ends_the_run(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.add("acme")
    fleet.write("tenant/0002_slow.sql", "SELECT pg_sleep(0.5);")
    run = asyncio.create_task(fleet.up())
    await fleet.until(ASLEEP)
    async with fleet.connection() as usurper:
        monkeypatch.setattr(lock, "RUN_WAIT_SECONDS", 0.05)
        take = f"SELECT pg_try_advisory_lock({lock.CLASS}, {lock.RUN})"
        while not await usurper.fetchval(take):  # the run takes it again as soon as it can
            await usurper.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {RUN_LOCK}"
            )
        with pytest.raises(RunLockHeldError):
            await run
    assert (await fleet.versions())["acme"] == "0002"
