"""Files become schemas: what `up` does where nothing goes wrong."""

import asyncio
import shutil

import pytest
from support.fleets import Fleet

from tenancy import migrate, provision
from tenancy.errors import (
    MigrationError,
    MigrationFileError,
    MigrationRefusedError,
    SettingsError,
    UnknownTenantError,
)
from tenancy.migrate import Outcome, Stage
from tenancy.migrate.fleet import run as fleets


async def test_an_empty_database_gets_its_catalog_and_its_shared_schema(fresh: Fleet) -> None:
    fresh.write("shared/0001_kinds.sql", "CREATE TABLE kinds (kind text PRIMARY KEY);")
    report = await fresh.up()
    assert [(r.stage, r.outcome, r.applied) for r in report.results] == [
        (Stage.CATALOG, Outcome.APPLIED, tuple(m.version for m in fresh.files.catalog)),
        (Stage.SHARED, Outcome.APPLIED, ("0001",)),
    ]
    assert {"tenancy.tenants", "tenancy.runs"} <= await fresh.tables("tenancy")
    assert await fresh.tables("shared") == {"shared.kinds"}
    assert report.exit_code() == 0


async def test_the_catalog_records_its_own_files(fleet: Fleet) -> None:
    rows = await fleet.fetch(
        "SELECT m.version, m.checksum FROM tenancy.migrations m JOIN pg_namespace n "
        "ON n.oid = m.schema_oid WHERE n.nspname = 'tenancy' ORDER BY 1"
    )
    assert rows == [(m.version, m.checksum) for m in fleet.files.catalog]


async def test_every_tenant_gets_every_file_once(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_count.sql", "CREATE TABLE count (n int); INSERT INTO count VALUES (1);"
    )
    await fleet.add("acme", "globex", "initech")
    report = await fleet.up()
    again = await fleet.up()
    assert {(r.tenant, r.applied) for r in report.results} == {
        (slug, ("0001", "0002")) for slug in ("acme", "globex", "initech")
    }
    assert again.results == ()
    assert await fleet.versions() == {"acme": "0002", "globex": "0002", "initech": "0002"}
    assert await fleet.fetch("SELECT count(*) FROM tenancy.migrations WHERE stage = 'tenant'") == [
        (6,)
    ]


async def test_a_run_is_recorded_with_how_it_ended(fleet: Fleet) -> None:
    await fleet.add("acme")
    report = await fleet.up()
    rows = await fleet.fetch(
        "SELECT command, outcome, finished_at >= started_at, digest FROM tenancy.runs "
        "WHERE id = $1",
        report.run_id,
    )
    assert rows == [("up", "current", True, fleet.files.digest)]


async def test_suspended_tenants_are_migrated_and_half_made_ones_are_not(fleet: Fleet) -> None:
    await fleet.add("acme", state="suspended")
    await fleet.add("making", state="provisioning", schema=False)
    await fleet.add("going", state="deleting", schema=False)
    assert (await fleet.up()).exit_code() == 0
    assert await fleet.versions() == {"acme": "0001", "going": None, "making": None}


async def test_named_tenants_are_migrated_alone(fleet: Fleet) -> None:
    await fleet.add("acme", "globex")
    await fleet.up(tenants=["globex"])
    assert await fleet.versions() == {"acme": None, "globex": "0001"}
    with pytest.raises(UnknownTenantError, match="umbrella"):
        await fleet.up(tenants=["globex", "umbrella"])


async def test_a_tenant_created_mid_run_is_migrated_by_the_same_run(fleet: Fleet) -> None:
    await fleet.add("acme")
    added: list[asyncio.Task[list[str]]] = []

    def watch(_result: object, _left: int) -> None:
        if not added:
            added.append(asyncio.create_task(fleet.add("late")))

    fleet.write("tenant/0002_slow.sql", "SELECT pg_sleep(0.3);")
    await fleet.add("globex")
    report = await fleet.up(watch=watch, parallel=1)
    await added[0]
    assert {result.tenant for result in report.results} == {"acme", "globex", "late"}


async def test_a_file_without_statements_is_recorded(fleet: Fleet) -> None:
    fleet.write("tenant/0002_nothing.sql", "-- nothing any more\n")
    await fleet.add("acme")
    assert (await fleet.up()).exit_code() == 0
    assert await fleet.versions() == {"acme": "0002"}


async def test_a_function_with_a_body_of_statements_is_made(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_function.sql",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC "
        "SELECT CASE WHEN true THEN 1 END; SELECT 2; END;\n"
        "CREATE RULE r AS ON INSERT TO notes DO ALSO (SELECT 1; SELECT 2);\n"
        "INSERT INTO notes (body) VALUES (E'it\\'s; ' || $$a;b$$ || f());",
    )
    await fleet.add("acme")
    assert (await fleet.up()).exit_code() == 0
    assert await fleet.fetch("SELECT body FROM t_acme.notes") == [("it's; a;b2",)]


async def test_deferred_triggers_fire_in_the_tenants_schema(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_deferred.sql",
        "CREATE TABLE log (n bigint); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NULL; END $$; "
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION note(); INSERT INTO notes (body) VALUES ('a');",
    )
    await fleet.add("acme")
    assert (await fleet.up()).exit_code() == 0
    assert await fleet.fetch("SELECT n FROM t_acme.log") == [(1,)]


async def test_a_file_leaves_nothing_to_the_next_tenant(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_leave.sql",
        "SET statement_timeout = '7s'; SET work_mem = '7MB'; CREATE TEMP TABLE secret (a int); "
        "PREPARE p AS SELECT 1; LISTEN channel; SELECT pg_advisory_lock(7);",
    )
    fleet.write(
        "tenant/0003_look.sql",
        "CREATE TABLE seen AS SELECT current_setting('work_mem') AS mem, "
        "to_regclass('secret') AS temp, (SELECT count(*) FROM pg_prepared_statements) AS prepared;",
    )
    await fleet.add("acme", "globex")
    await fleet.up(parallel=1)
    for schema in ("t_acme", "t_globex"):
        assert await fleet.fetch(f"SELECT mem <> '7MB', temp, prepared FROM {schema}.seen") == [
            (True, None, 0)
        ]


async def test_timeouts_come_from_the_file(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_look.sql",
        "-- migrate:up lock_timeout:3s statement_timeout:1h\n"
        "CREATE TABLE seen AS SELECT current_setting('lock_timeout') AS l, "
        "current_setting('statement_timeout') AS s, current_setting('search_path') AS p;",
    )
    await fleet.add("acme")
    await fleet.up()
    seen = await fleet.fetch("SELECT l, s, p FROM t_acme.seen")
    assert seen == [("3s", "1h", "t_acme, shared, pg_temp")]


async def test_everybody_who_may_connect_reads_the_shared_schema_and_writes_nothing(
    fleet: Fleet,
) -> None:
    fleet.write(
        "shared/0001_kinds.sql", "CREATE TABLE kinds (kind text); CREATE VIEW k AS TABLE kinds;"
    )
    await fleet.up()
    fleet.write("shared/0002_more.sql", "CREATE TABLE more (kind text);")
    await fleet.up()
    rows = await fleet.fetch(
        "SELECT has_schema_privilege('public', 'shared', 'USAGE'), "
        "has_schema_privilege('public', 'shared', 'CREATE'), "
        "bool_and(has_table_privilege('public', c.oid, 'SELECT')), "
        "bool_or(has_table_privilege('public', c.oid, 'INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER')), "
        "count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'shared' AND c.relkind IN ('r', 'v')"
    )
    assert rows == [(True, False, True, False, 3)]


async def test_what_was_in_the_shared_schema_before_is_readable_too(fresh: Fleet) -> None:
    await fresh.execute("CREATE SCHEMA shared; CREATE TABLE shared.old (id int)")
    fresh.write("shared/0001_kinds.sql", "CREATE TABLE kinds (kind text);")
    await fresh.up()
    rows = await fresh.fetch("SELECT has_table_privilege('public', 'shared.old', 'SELECT')")
    assert rows == [(True,)]


async def test_the_migrators_login_is_no_superuser(fleet: Fleet) -> None:
    assert await fleet.fetch("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [
        (False,)
    ]


async def test_connections_are_replaced_before_they_grow(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.migrate.upgrade.session.SCHEMAS_PER_CONNECTION", 2)
    fleet.write("tenant/0002_pid.sql", "CREATE TABLE pid AS SELECT pg_backend_pid() AS pid;")
    names = await fleet.add("a", "b", "c", "d", "e")
    await fleet.up(parallel=1)
    pids = await fleet.fetch(" UNION ".join(f"SELECT pid FROM {name}.pid" for name in names))
    assert len(pids) == 3


async def test_provisioning_applies_all_files_in_its_own_transaction(fleet: Fleet) -> None:
    fleet.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    files = migrate.load(fleet.settings)
    async with fleet.connection() as conn:
        with pytest.raises(ZeroDivisionError):
            async with conn.transaction():
                await conn.execute("CREATE SCHEMA t_new")
                await migrate.apply_all(conn, fleet.settings, "t_new", files.tenant)
                raise ZeroDivisionError
        assert (
            await conn.fetchval("SELECT count(*) FROM tenancy.checkpoints WHERE stage = 'tenant'")
            == 0
        )
        async with conn.transaction():
            await conn.execute("CREATE SCHEMA t_new")
            await conn.execute(
                "INSERT INTO tenancy.tenants (slug, schema_name, state) "
                "VALUES ('new', 't_new', 'active')"
            )
            await migrate.apply_all(conn, fleet.settings, "t_new", files.tenant)
    assert await fleet.versions() == {"new": "0002"}
    assert (await fleet.up()).results == ()


async def test_files_cannot_be_applied_to_a_schema_that_does_not_exist(fleet: Fleet) -> None:
    async with fleet.connection() as conn, conn.transaction():
        with pytest.raises(MigrationError, match="t_none does not exist"):
            await migrate.apply_all(conn, fleet.settings, "t_none", fleet.files.tenant)


async def test_stages_behind_are_told_before_a_tenant_is_made(fresh: Fleet) -> None:
    async def behind() -> tuple[Stage, ...]:
        async with fresh.connection() as conn, conn.transaction():
            return await migrate.stages_behind(conn, fresh.settings, fresh.files)

    assert await behind() == (Stage.CATALOG, Stage.SHARED)
    await fresh.up()
    assert await behind() == ()
    fresh.write("shared/0001_kinds.sql", "CREATE TABLE kinds (kind text);")
    assert await behind() == (Stage.SHARED,)


async def test_a_refused_file_leaves_the_database_untouched(fresh: Fleet) -> None:
    fresh.write("tenant/0002_commit.sql", "CREATE TABLE a (b int);\n  COMMIT;")
    with pytest.raises(MigrationFileError, match=r"tenant/0002_commit\.sql:2:3: COMMIT"):
        await fresh.up()
    assert (
        await fresh.fetch("SELECT 1 FROM pg_namespace WHERE nspname IN ('tenancy', 'shared')") == []
    )


async def test_a_schema_made_beforehand_by_the_owner_of_the_database_is_used(fresh: Fleet) -> None:
    await fresh.execute("CREATE SCHEMA tenancy; CREATE SCHEMA shared")
    assert (await fresh.up()).exit_code() == 0


async def test_a_folder_without_files_is_not_taken_for_an_older_build(fleet: Fleet) -> None:
    await fleet.add("acme", "globex")
    (await fleet.up()).raise_for_failures()
    (fleet.sql / "tenant" / "0001_notes.sql").unlink()
    fleet.write("shared/0001_other.sql", "CREATE TABLE other (id int);")
    done = await fleet.command("up")
    words = "tenant/ holds none: is TENANCY_SQL_DIR the folder of this database? (schemas: 2)"
    assert (done.code, words in done.err) == (6, True)
    assert "shared.other" not in await fleet.tables("shared")
    assert (await fleet.asked("plan", "--check")).code == 6
    (fleet.sql / "shared" / "0001_other.sql").unlink()
    async with provision.administrator(fleet.settings) as admin:
        with pytest.raises(MigrationRefusedError, match="tenant/ holds no file"):
            await admin.create("initech")
    await fleet.execute("DROP SCHEMA t_acme CASCADE; DROP SCHEMA t_globex CASCADE")
    async with provision.administrator(fleet.settings) as admin:
        await admin.create("initech")


async def test_a_newer_build_leaves_this_one_content(fleet: Fleet) -> None:
    fleet.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    await fleet.add("acme")
    await fleet.up()
    (fleet.sql / "tenant" / "0002_more.sql").unlink()
    report = await fleet.up()
    assert [(r.tenant, r.outcome) for r in report.results] == [("acme", Outcome.AHEAD)]
    assert "0002" in report.results[0].reason
    assert report.exit_code() == 0


async def test_a_schema_dropped_and_made_again_is_a_new_one(fleet: Fleet) -> None:
    await fleet.add("acme")
    await fleet.up()
    await fleet.execute("DROP SCHEMA t_acme CASCADE; CREATE SCHEMA t_acme")
    await fleet.up()
    assert await fleet.tables() == {"t_acme.notes"}


async def test_a_stage_without_files_is_no_error_and_no_stage_at_all_is_one(fleet: Fleet) -> None:
    await fleet.add("acme")
    shutil.rmtree(fleet.sql / "tenant")
    with pytest.raises(SettingsError, match="holds neither"):
        await fleet.up()
    (fleet.sql / "tenant").mkdir()
    assert (await fleet.up()).results == ()


async def test_the_target_is_reached_from_any_point(fleet: Fleet) -> None:
    await fleet.add("one")
    await fleet.up()
    fleet.write("tenant/0002_b.sql", "CREATE TABLE b (id int);")
    await fleet.add("two")
    await fleet.up(tenants=["two"])
    fleet.write("tenant/0003_c.sql", "CREATE TABLE c (id int);")
    await fleet.add("three")
    report = await fleet.up()
    assert {r.tenant: r.applied for r in report.results} == {
        "one": ("0002", "0003"),
        "two": ("0003",),
        "three": ("0001", "0002", "0003"),
    }


async def test_old_servers_without_the_watchful_settings_are_connected_to(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.migrate.upgrade.session._WATCHFUL", {"no_such_setting": "1"})
    assert (await fleet.up()).exit_code() == 0


def test_the_functions_face_is_listed_once() -> None:
    assert sorted(migrate.__all__) == list(migrate.__all__)
    assert all(hasattr(migrate, name) for name in migrate.__all__)
    assert migrate.migrate is fleets.up


async def test_the_server_forgets_a_killed_runner_soon(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_look.sql",
        "CREATE TABLE seen AS SELECT current_setting('client_connection_check_interval') AS i;",
    )
    await fleet.add("acme")
    await fleet.up()
    assert await fleet.fetch("SELECT i FROM t_acme.seen") == [("500ms",)]


async def test_a_schema_out_of_a_dump_is_not_migrated_from_the_start(fleet: Fleet) -> None:
    """It has all its tables and rows, another oid, and its comment; the ledger knows it not."""
    fleet.write("tenant/0001_notes.sql", "CREATE TABLE IF NOT EXISTS notes (n int);")
    fleet.write("tenant/0002_more.sql", "INSERT INTO notes VALUES (1);")
    await fleet.add("acme", "globex")
    (await fleet.up()).raise_for_failures()
    ((stamp,),) = await fleet.fetch("SELECT obj_description('t_acme'::regnamespace)")
    await fleet.execute(
        "ALTER SCHEMA t_acme RENAME TO old; CREATE SCHEMA t_acme; "
        "ALTER TABLE old.notes SET SCHEMA t_acme; DROP SCHEMA old; "
        f"COMMENT ON SCHEMA t_acme IS '{stamp}'"
    )
    words = "was it restored from a dump? Then say `baseline 0002`"
    report = await fleet.up()
    assert report.exit_code() == 6
    (result,) = report.results
    assert words in result.reason
    for command, code in {"plan": 6, "status": 0, "rehearse": 6}.items():
        done = await fleet.asked(command)
        told = done.err if command == "rehearse" else done.out
        assert (done.code, words in told, "pending" in told) == (code, True, False), told
    assert await fleet.fetch("SELECT count(*) FROM t_acme.notes") == [(1,)]
    fleet.write("tenant/0003_next.sql", "ALTER TABLE notes ADD m int;")
    done = await fleet.asked("rehearse")  # of one that can be
    assert (done.code, "globex (t_globex)" in done.out) == (0, True)
    assert (await fleet.asked("rehearse", "--tenant", "acme")).code == 6
    assert (await fleet.asked("baseline", "0002", "--tenant", "acme")).code == 0
    assert (await fleet.up()).exit_code() == 0


async def test_a_failure_quotes_no_row(fleet: Fleet) -> None:
    """Class 42 too: a row's text that is taken for a name, for SQL or for a query."""
    fleet.write("tenant/0001_notes.sql", "CREATE TABLE notes AS SELECT 'Alice \"S\" B' AS body;")
    await fleet.add("acme")
    (await fleet.up()).raise_for_failures()
    for sql, words in {
        "SELECT to_tsquery(body) FROM notes": 'syntax error in tsquery: "..." (SELECT to_tsquery)',
        "SELECT current_setting(body) FROM notes": 'configuration parameter "..." (SELECT',
        "SELECT pg_get_serial_sequence('notes', body) FROM notes": 'column "..."',
        "DO $$ BEGIN EXECUTE (SELECT format('DROP TABLE %I', body) FROM notes); END $$": '"..."',
        'ALTER TABLE notes DROP "No such"': 'column "No such" of relation "notes" does not exist',
    }.items():
        fleet.write("tenant/0002_words.sql", sql)
        (result,) = (await fleet.up()).results
        assert result.failure is not None
        assert words in result.failure.message
        assert "lice" not in str(result.failure)
    assert await fleet.fetch("SELECT FROM tenancy.failures WHERE message ~* 'lice'") == []
