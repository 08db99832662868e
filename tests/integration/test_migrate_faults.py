"""What goes wrong with one tenant, and what then happens to it and to the others."""

import asyncio
import re
from dataclasses import replace
from unittest.mock import AsyncMock

import pytest
from support.databases import superuser
from support.fleets import ASLEEP, NOTES, Fleet
from support.wire import CUT, CUT_ANSWER, PASS, when, wire

from tenancy.errors import MigrationError, MigrationRefusedError
from tenancy.migrate import Outcome
from tenancy.migrate.report.outcomes import Ending
from tenancy.migrate.upgrade import lock, retry, whole


@pytest.fixture
async def three(fleet: Fleet) -> Fleet:
    """Tenants acme, globex and initech, with notes."""
    await fleet.add("acme", "globex", "initech")
    (await fleet.up()).raise_for_failures()
    return fleet


async def _stored(fleet: Fleet) -> list[tuple[object, ...]]:
    return await fleet.fetch(
        "SELECT schema_name, version, sqlstate, place, message FROM tenancy.failures ORDER BY id"
    )


async def test_a_tenant_that_fails_does_not_stop_the_others(three: Fleet) -> None:
    await three.execute("CREATE TABLE t_globex.tags (id int)")
    three.write(
        "tenant/0002_tags.sql", "CREATE TABLE before (id int);\n\n  CREATE TABLE tags (id int);"
    )
    report = await three.up()
    assert {r.tenant: r.outcome for r in report.results} == {
        "acme": Outcome.APPLIED,
        "globex": Outcome.FAILED,
        "initech": Outcome.APPLIED,
    }
    assert report.exit_code() == 3
    assert await three.versions() == {"acme": "0002", "globex": "0001", "initech": "0002"}
    assert "t_globex.before" not in await three.tables()
    assert await _stored(three) == [
        (
            "t_globex",
            "0002",
            "42P07",
            "tenant/0002_tags.sql:3:3",
            'relation "tags" already exists (CREATE TABLE tags)',
        )
    ]
    with pytest.raises(MigrationError, match=r"1 failed; globex .*tags\.sql:3:3: \[42P07\]"):
        report.raise_for_failures()


async def test_files_before_the_failing_one_stay(three: Fleet) -> None:
    three.write("tenant/0002_good.sql", "CREATE TABLE good (id int);")
    three.write("tenant/0003_bad.sql", "SELECT nope;")
    report = await three.up(tenants=["acme"])
    assert [(r.applied, r.outcome) for r in report.results] == [(("0002",), Outcome.FAILED)]
    assert (await three.versions())["acme"] == "0002"


async def test_a_tenant_whose_last_attempt_failed_goes_last(three: Fleet) -> None:
    three.write(
        "tenant/0002_odd.sql",
        "DO $$ BEGIN IF current_schema() = 't_acme' THEN RAISE 'odd'; END IF; END $$;",
    )
    await three.up(parallel=1)
    three.write("tenant/0003_more.sql", "CREATE TABLE more (id int);")
    report = await three.up(parallel=1)
    assert [r.tenant for r in report.results] == ["globex", "initech", "acme"]


async def test_what_was_mended_goes_on(three: Fleet) -> None:
    await three.execute("CREATE TABLE t_globex.tags (id int)")
    three.write("tenant/0002_tags.sql", "CREATE TABLE tags (id int);")
    await three.up()
    await three.execute("DROP TABLE t_globex.tags")
    report = await three.up()
    assert [(r.tenant, r.applied) for r in report.results] == [("globex", ("0002",))]
    assert report.exit_code() == 0


@pytest.mark.parametrize(
    ("statement", "place", "sqlstate"),
    [
        ("SELECT 'é', nope", "2:13", "42703"),
        ("SELECT\n  1 +\n  nope", "4:3", "42703"),
        ("SELEC 1", "2:1", "42601"),
        ("SELECT 1/0", "2:1", "22012"),
        ("DO $$ BEGIN PERFORM nope; END $$", "2:1", "42703"),
        ("INSERT INTO notes (body) VALUES (NULL)", "2:1", "23502"),
    ],
)
async def test_an_error_has_a_place_with_or_without_a_position_of_the_servers(
    three: Fleet, statement: str, place: str, sqlstate: str
) -> None:
    three.write("tenant/0002_bad.sql", f"SELECT 1;\n{statement};")
    report = await three.up(tenants=["acme"])
    (failure,) = [r.failure for r in report.results]
    assert failure is not None
    assert (failure.place, failure.sqlstate) == (f"tenant/0002_bad.sql:{place}", sqlstate)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE UNIQUE INDEX one ON notes (body)",
        "ALTER TABLE notes ALTER body TYPE int USING body::int",
        "ALTER TABLE notes ALTER body TYPE date USING body::date",
        "ALTER TABLE notes ADD CHECK (body = '')",
        "DO $$ BEGIN RAISE 'odd' USING DETAIL = 'topsecret', HINT = 'topsecret'; END $$",
    ],
)
async def test_no_row_is_told_or_stored(three: Fleet, statement: str) -> None:
    rows = "INSERT INTO notes (body) SELECT 'topsecret' FROM generate_series(1, 2)"
    three.write("tenant/0002_bad.sql", f"{rows}; {statement};")
    report = await three.up()
    status = await three.asked("status")
    assert report.exit_code() == 3
    assert "topsecret" not in f"{report!r} {status!r} {await _stored(three)!r}"


async def test_what_a_file_raises_is_printed_and_not_stored(three: Fleet) -> None:
    three.write("tenant/0002_bad.sql", "DO $$ BEGIN RAISE 'duplicate %', 'topsecret'; END $$;")
    report = await three.up(tenants=["acme"])
    assert "[P0001] duplicate topsecret" in report.results[0].why
    ((*_, sqlstate, place, message),) = await _stored(three)
    assert (sqlstate, place) == ("P0001", "tenant/0002_bad.sql:1:1")
    assert message == "the file raised an error; the run printed its words"


async def test_a_deferred_constraint_that_refuses_the_commit_fails_the_file(three: Fleet) -> None:
    three.write(
        "tenant/0002_deferred.sql",
        "CREATE TABLE child (id bigint REFERENCES notes DEFERRABLE INITIALLY DEFERRED); "
        "INSERT INTO child VALUES (7);",
    )
    report = await three.up(tenants=["acme"])
    (failure,) = [r.failure for r in report.results]
    assert failure is not None
    assert (failure.place, failure.sqlstate) == ("tenant/0002_deferred.sql", "23503")
    assert "t_acme.child" not in await three.tables()


@pytest.fixture
async def _another_role(server_url: str, fleet: Fleet) -> None:
    """A role that the owner may become, as a file might try; it goes with the owner."""
    owner = (await fleet.fetch("SELECT current_user"))[0][0]
    async with superuser(server_url) as conn:
        if not await conn.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", f"{owner}_other"):
            await conn.execute(f"CREATE ROLE {owner}_other; GRANT {owner}_other TO {owner}")


@pytest.mark.usefixtures("_another_role")
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("PERFORM set_config('search_path', 'shared', true)", "another search_path"),
        ("PERFORM set_config('search_path', 'shared', false)", "another search_path"),
        ("PERFORM set_config('tenancy.scope', '', true)", "ended the migrator's transaction"),
        ("PERFORM set_config('role', session_user || '_other', true)", "another role"),
        ("COMMIT", "invalid transaction termination"),
        ("DROP SCHEMA t_acme CASCADE", "not there any more"),
    ],
)
async def test_a_file_that_leaves_its_scope_is_rolled_back(
    three: Fleet, statement: str, words: str
) -> None:
    hidden = f"DO $$ BEGIN {statement}; END $$"  # as it stands it would be refused
    three.write("tenant/0002_escape.sql", f"CREATE TABLE escaped (id int); {hidden};")
    report = await three.up(tenants=["acme"])
    (result,) = report.results
    assert result.outcome is Outcome.FAILED
    assert words in result.why
    assert await three.tables("%\\_%") >= {"t_acme.notes"}
    assert not {name for name in await three.tables("%") if name.endswith(".escaped")}


async def test_a_commit_that_got_past_the_reader_is_noticed(
    three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.migrate.files.rules.runnable", lambda *_args, **_kwargs: None)
    three.write("tenant/0002_commit.sql", "CREATE TABLE a (id int); COMMIT; SELECT 1;")
    first = await three.up(tenants=["acme"])
    assert "ended the migrator's transaction" in first.results[0].why
    second = await three.up(tenants=["acme"])
    assert "its checkpoint says otherwise" in second.results[0].why
    assert (await three.versions())["acme"] == "0001"


async def test_a_changed_file_is_refused_before_anything_is_touched(three: Fleet) -> None:
    await three.add("late")
    three.write("tenant/0001_notes.sql", NOTES + " -- and more")
    three.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    three.write("shared/0001_kinds.sql", "CREATE TABLE kinds (kind text);")
    with pytest.raises(MigrationRefusedError, match=r"0001_notes\.sql: changed.*schemas: 3"):
        await three.up()
    assert (await three.versions())["late"] is None
    assert await three.tables("shared") == set()


async def test_a_file_out_of_order_is_refused_for_those_that_have_passed_it(three: Fleet) -> None:
    three.write("tenant/0003_c.sql", "CREATE TABLE c (id int);")
    await three.up(tenants=["acme"])
    three.write("tenant/0002_b.sql", "CREATE TABLE b (id int);")
    report = await three.up()
    assert {r.tenant: r.outcome for r in report.results} == {
        "acme": Outcome.REFUSED,
        "globex": Outcome.APPLIED,
        "initech": Outcome.APPLIED,
    }
    assert "tenant/0002_b.sql" in next(r.reason for r in report.results if r.tenant == "acme")
    assert report.exit_code() == 6
    assert "t_acme.b" not in await three.tables()


async def test_nothing_of_a_tenant_runs_when_the_shared_stage_fails(three: Fleet) -> None:
    three.write("shared/0001_bad.sql", "SELECT nope;")
    three.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    report = await three.up()
    assert [(r.schema, r.outcome) for r in report.results] == [("shared", Outcome.FAILED)]
    assert (report.exit_code(), report.left) == (3, 3)


async def test_a_tenant_without_its_schema_fails_alone(three: Fleet) -> None:
    await three.execute("DROP SCHEMA t_acme CASCADE")
    three.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    report = await three.up()
    assert {r.tenant for r in report.results if r.outcome is Outcome.FAILED} == {"acme"}
    assert not any(name.startswith("shared.") for name in await three.tables("%"))


async def test_a_tenant_dropped_under_the_migration_is_gone_and_no_failure(three: Fleet) -> None:
    three.write(
        "tenant/0002_slow.sql", "SELECT pg_sleep(0.5); CREATE TABLE IF NOT EXISTS more (id int);"
    )
    run = asyncio.create_task(three.up(parallel=1, tenants=["acme"]))
    await three.until(ASLEEP)
    await three.execute(
        "DROP SCHEMA t_acme CASCADE; DELETE FROM tenancy.tenants WHERE slug = 'acme'"
    )
    report = await run
    assert [r.outcome for r in report.results] == [Outcome.GONE]
    assert (report.exit_code(), await _stored(three)) == (0, [])
    assert await three.tables("shared") == set()  # the next schema of the path took nothing


async def test_a_lock_timeout_is_tried_again(three: Fleet) -> None:
    three.write(
        "tenant/0002_alter.sql", "-- migrate:up lock_timeout:100ms\nALTER TABLE notes ADD a int;"
    )
    async with three.connection() as reader:
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetch("SELECT * FROM t_acme.notes")
        run = asyncio.create_task(three.up(tenants=["acme"]))
        await asyncio.sleep(1)
        assert not run.done()
        await transaction.rollback()
        report = await run
    assert [(r.outcome, r.applied) for r in report.results] == [(Outcome.APPLIED, ("0002",))]


async def test_a_lock_that_never_comes_free_fails_the_tenant(
    three: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "CONTENTION_ATTEMPTS", 2)
    three.write(
        "tenant/0002_alter.sql", "-- migrate:up lock_timeout:50ms\nALTER TABLE notes ADD a int;"
    )
    async with three.connection() as reader, reader.transaction():
        await reader.fetch("SELECT * FROM t_acme.notes")
        report = await three.up()
    assert {r.tenant: r.outcome for r in report.results}["acme"] is Outcome.FAILED
    (failure,) = await _stored(three)
    assert failure[2] == "55P03"


async def test_a_deadlock_is_tried_again(three: Fleet) -> None:
    three.write("tenant/0002_both.sql", "LOCK TABLE notes; LOCK TABLE other;")
    await three.execute("CREATE TABLE t_acme.other (id int)")
    async with three.connection() as rival:
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute("LOCK TABLE t_acme.other")
        run = asyncio.create_task(three.up(tenants=["acme"]))
        await three.until(
            "SELECT count(*) = 1 FROM pg_locks "
            "WHERE NOT granted AND relation = 't_acme.other'::regclass"
        )
        await rival.execute("LOCK TABLE t_acme.notes")  # waits for less long, so it is spared
        await transaction.rollback()
        report = await run
    assert [r.outcome for r in report.results] == [Outcome.APPLIED]


async def test_a_lost_connection_is_replaced(three: Fleet) -> None:
    three.write(
        "tenant/0002_slow.sql", "INSERT INTO notes (body) VALUES ('once'); SELECT pg_sleep(0.4);"
    )
    run = asyncio.create_task(three.up(tenants=["acme"]))
    await three.until(ASLEEP)
    await three.end_sessions("wait_event = 'PgSleep'")
    assert [r.outcome for r in (await run).results] == [Outcome.APPLIED]
    assert await three.fetch("SELECT count(*) FROM t_acme.notes") == [(1,)]


@pytest.mark.parametrize("verdict", [CUT, CUT_ANSWER])
@pytest.mark.parametrize("whole_file", [True, False], ids=["whole", "by statement"])
async def test_a_commit_without_an_answer_is_looked_up(
    three: Fleet, monkeypatch: pytest.MonkeyPatch, verdict: str, *, whole_file: bool
) -> None:
    three.write("tenant/0002_once.sql", "INSERT INTO notes (body) VALUES ('once');")
    if not whole_file:
        monkeypatch.setattr(whole, "run", AsyncMock(side_effect=whole.UnplacedError))
    commit = b"COMMIT; NOTIFY" if whole_file else b"COMMIT\0"
    async with wire(three.dsn) as line:
        line.verdict = decide = when(commit, verdict)
        report = await replace(three, dsn=line.url).up(tenants=["acme"])
        assert decide(commit) == PASS  # it was used up
    assert [(r.outcome, r.applied) for r in report.results] == [(Outcome.APPLIED, ("0002",))]
    assert await three.fetch("SELECT count(*) FROM t_acme.notes") == [(1,)]


async def test_a_file_that_takes_the_connection_down_fails_after_few_attempts(three: Fleet) -> None:
    three.write("tenant/0002_down.sql", "SELECT pg_terminate_backend(pg_backend_pid());")
    report = await three.up(tenants=["acme"])
    assert [r.outcome for r in report.results] == [Outcome.FAILED]
    assert [row[3] for row in await _stored(three)] == ["tenant/0002_down.sql"]


async def test_a_run_survives_the_loss_of_its_control_connection(three: Fleet) -> None:
    three.write("tenant/0002_slow.sql", "SELECT pg_sleep(0.4);")
    run = asyncio.create_task(three.up())
    await three.until(ASLEEP)
    await three.end_sessions(
        f"pid IN (SELECT pid FROM pg_locks WHERE classid = {lock.CLASS} AND objid = {lock.RUN})"
    )
    report = await run
    assert report.ending is Ending.CURRENT
    assert await three.fetch("SELECT outcome FROM tenancy.runs WHERE id = $1", report.run_id) == [
        ("current",)
    ]


async def test_a_login_without_the_right_to_make_schemas_is_told_whose_it_is(
    fresh: Fleet, server_url: str
) -> None:
    database, owner = (await fresh.fetch("SELECT current_database(), current_user"))[0]
    async with superuser(server_url) as conn:
        await conn.execute(
            f"ALTER DATABASE {database} OWNER TO CURRENT_USER; "
            f"GRANT CONNECT ON DATABASE {database} TO {owner}"
        )
    done = await fresh.command()
    assert done.code == 4
    assert "TENANCY_ADMIN_DATABASE_URL is not set" in done.err
    assert not re.search("Traceback|postgresql://", done.err)
