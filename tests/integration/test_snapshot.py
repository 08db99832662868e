"""The snapshot: what new tenants start from is what all files make."""

import asyncio
import os
import re
import signal

import pytest
from support.fleets import Fleet, ended
from support.odd_sql import FILES

from tenancy import migrate, provision
from tenancy.errors import MigrationError, MigrationFileError
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.origin import alike
from tenancy.migrate.shape import seeds
from tenancy.migrate.upgrade import scratch

SNAPSHOT = "snapshot/tenant.sql"
SCRATCH = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tenancy\\_scratch%'"


@pytest.fixture
async def odd(fresh: Fleet) -> Fleet:
    """A fleet with a catalog, a shared schema and odd files of tenants; no tenant yet."""
    (fresh.sql / "tenant/0001_notes.sql").unlink()
    for name, text in FILES.items():
        fresh.write(name, text)
    (await fresh.up()).raise_for_failures()
    return fresh


async def new(fleet: Fleet, schema: str) -> SchemaRef:
    """Make *schema* as provisioning does."""
    async with fleet.connection() as conn:
        async with conn.transaction():
            await conn.execute(f"CREATE SCHEMA {schema}")
            await migrate.apply_all(conn, fleet.settings, schema, fleet.files.tenant)
        oid = await conn.fetchval("SELECT oid FROM pg_namespace WHERE nspname = $1", schema)
        return SchemaRef(oid, schema)


async def made(fleet: Fleet, *options: str) -> str:
    """Run the command; return the file."""
    result = await fleet.asked("snapshot", *options)
    assert result.code == 0, result.err
    return (fleet.sql / SNAPSHOT).read_text()


async def test_a_tenant_from_the_snapshot_is_like_one_from_all_files(odd: Fleet) -> None:
    replayed = await new(odd, "t_replayed")
    await made(odd)
    copied = await new(odd, "t_copied")
    async with odd.connection() as conn:
        assert await alike.differences(conn, copied, replayed) == ()
        rows = await seeds.read(conn, replayed)
        _, faults = seeds.settled(rows, await seeds.read(conn, copied))
        assert faults == []
        assert {table.name for table in rows.tables} == {
            *('"Odd ""Name"""', "notes", "parts_1", "places")
        }
    assert await odd.fetch("SELECT name, t_copied.home() FROM t_copied.places") == [
        ("t_copied", "t_copied")
    ]
    assert await odd.fetch("SELECT nextval('t_copied.notes_id_seq'), n FROM t_copied.counted") == [
        (8, 2)
    ]
    assert await odd.fetch(SCRATCH) == [(0,)]


async def test_the_same_files_give_the_same_file(odd: Fleet) -> None:
    once = await made(odd)
    (odd.sql / SNAPSHOT).unlink()
    assert await made(odd) == once
    assert "scratch" not in once
    result = await odd.asked("snapshot", "--check")
    assert (result.code, "is current" in result.out) == (0, True)


async def test_psql_can_run_it_on_the_path_of_a_tenant(odd: Fleet) -> None:
    (odd.sql / "tenant/0004_where.sql").unlink()  # the name of its schema is for us to fill in
    text = await made(odd)
    async with odd.connection() as conn:
        await conn.execute("CREATE SCHEMA t_psql; SET search_path = t_psql, shared, pg_temp")
        await conn.execute(text)
        assert await conn.fetchval("SELECT count(*) FROM parts") == 1


async def test_the_ledger_has_one_row_for_all_its_files(odd: Fleet) -> None:
    await made(odd)
    odd.write("tenant/0005_later.sql", "ALTER TABLE notes ADD later int;")
    await odd.add("copied", schema=False)
    await new(odd, "t_copied")
    rows = await odd.fetch(
        "SELECT version, kind, name FROM tenancy.migrations "
        "WHERE schema_name = 't_copied' ORDER BY version"
    )
    assert rows == [("0004", "baseline", "snapshot"), ("0005", "file", "later")]
    assert await odd.versions() == {"copied": "0005"}
    assert (await odd.up()).results == ()


async def test_tenants_create_starts_from_it(odd: Fleet) -> None:
    await made(odd)
    async with provision.administrator(odd.settings) as admin:
        profile = await admin.create("acme")
    assert profile.tenant.version == "0004"
    assert await odd.fetch(
        "SELECT DISTINCT kind FROM tenancy.migrations WHERE stage = 'tenant'"
    ) == [("baseline",)]
    comment = await odd.fetch(
        "SELECT obj_description(oid) FROM pg_namespace WHERE nspname = $1", profile.tenant.schema
    )
    assert "version=0004" in str(comment)
    assert await odd.fetch(
        "SELECT count(*) FROM information_schema.table_privileges WHERE grantee = $1 "
        "AND table_name = 'notes' AND privilege_type IN ('INSERT', 'SELECT')",
        profile.tenant.schema,
    ) == [(2,)]


async def test_a_snapshot_that_is_behind_is_used_and_said_to_be(odd: Fleet) -> None:
    await made(odd)
    odd.write("tenant/0005_later.sql", "CREATE TABLE later (n int);")
    result = await odd.asked("snapshot", "--check")
    assert result.code == 5
    assert "+CREATE TABLE later" in result.out
    assert (await odd.asked("snapshot")).code == 0
    assert (await odd.asked("snapshot", "--check")).code == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tenant/0001_first.sql", "was edited"),
        ("shared/0002_other.sql", "shared schema"),
        ("server", "made on PostgreSQL 9"),
    ],
)
async def test_one_that_does_not_fit_is_passed_over(
    odd: Fleet, caplog: pytest.LogCaptureFixture, name: str, reason: str
) -> None:
    text = await made(odd)
    if name == "server":
        (odd.sql / SNAPSHOT).write_text(re.sub(r"-- server: \d+", "-- server: 9", text))
    elif name.startswith("tenant"):
        odd.write(name, FILES[name] + "CREATE TABLE edited (n int);")
    else:
        odd.write(name, "ALTER TABLE kinds ADD since date;")
        (await odd.up()).raise_for_failures()
    await new(odd, "t_replayed")
    assert reason in caplog.text
    assert await odd.fetch(
        "SELECT DISTINCT kind FROM tenancy.migrations WHERE stage = 'tenant'"
    ) == [("file",)]


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("'one'", "'two'"),
        lambda text: text.partition("\n-- version")[0],
        lambda _: "CREATE TABLE mine ();",
        lambda text: text + "\nCREATE TABLE mine ();",
    ],
)
async def test_one_that_was_edited_is_refused(odd: Fleet, edit: object) -> None:
    text = await made(odd)
    (odd.sql / SNAPSHOT).write_text(edit(text))  # type: ignore[operator]
    with pytest.raises(MigrationFileError, match="make it again"):
        await new(odd, "t_refused")
    assert await odd.fetch("SELECT count(*) FROM pg_namespace WHERE nspname = 't_refused'") == [
        (0,)
    ]


async def test_line_ends_of_a_checkout_do_no_harm(odd: Fleet) -> None:
    text = await made(odd)
    (odd.sql / SNAPSHOT).write_bytes(text.replace("\n", "\r\n").encode())
    await new(odd, "t_copied")


async def test_rows_can_be_refused(odd: Fleet) -> None:
    result = await odd.asked("snapshot", "--no-seeds")
    assert result.code == 6
    assert "places" in result.err
    assert not (odd.sql / SNAPSHOT).exists()


async def test_a_value_that_is_another_each_time_is_named_unless_a_default_makes_it(
    odd: Fleet,
) -> None:
    odd.write(
        "tenant/0005_times.sql",
        "CREATE TABLE times (id uuid DEFAULT gen_random_uuid(), day date DEFAULT CURRENT_DATE, "
        "at timestamptz); INSERT INTO times (at) VALUES ('2024-01-01');",
    )
    text = await made(odd)
    assert "INSERT INTO times (at) VALUES\n('2024-01-01 00:00:00+00')" in text
    odd.write("tenant/0006_now.sql", "INSERT INTO times (at) VALUES (now());")
    result = await odd.asked("snapshot")
    assert (result.code, "times.at" in result.err) == (6, True)
    assert "times (at) VALUES\n('2024-01-01 00:00:00+00'),\n('20" in await made(odd, "--frozen")


async def test_a_snapshot_that_would_not_be_the_same_is_not_written(
    odd: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seeds.statements

    def less(rows: seeds.Seeds) -> object:
        return list(before(rows))[1:]

    monkeypatch.setattr(seeds, "statements", less)
    result = await odd.asked("snapshot")
    assert (result.code, "Odd" in result.err) == (6, True)
    assert not (odd.sql / SNAPSHOT).exists()
    assert await odd.fetch(SCRATCH) == [(0,)]


async def test_a_failing_file_is_named_and_nothing_is_left(odd: Fleet) -> None:
    odd.write("tenant/0005_broken.sql", "CREATE TABLE a ();\nSELECT 1 / 0;")
    result = await odd.asked("snapshot")
    assert result.code == 3
    assert "tenant/0005_broken.sql:2" in result.err
    assert await odd.fetch(SCRATCH) == [(0,)]


async def test_what_a_killed_one_has_left_the_next_one_drops(odd: Fleet) -> None:
    odd.write("tenant/0005_slow.sql", "SELECT pg_sleep(60);")
    process = await odd.start("snapshot")
    await odd.until(
        "SELECT count(*) > 0 FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%' "
        "AND pid <> pg_backend_pid()"
    )
    os.kill(process.pid, signal.SIGKILL)
    await process.communicate()
    assert await odd.fetch(SCRATCH) == [(1,)]
    await odd.end_sessions("query LIKE '%pg_sleep%'")
    (odd.sql / "tenant/0005_slow.sql").unlink()
    await made(odd)
    assert await odd.fetch(SCRATCH) == [(0,)]
    assert await odd.fetch(
        "SELECT count(*) FROM tenancy.migrations WHERE schema_name LIKE 'tenancy%scratch%'"
    ) == [(0,)]


async def test_told_to_end_it_tidies_up(odd: Fleet) -> None:
    odd.write("tenant/0005_slow.sql", "SELECT pg_sleep(60);")
    process = await odd.start("snapshot")
    await odd.until(
        "SELECT count(*) > 0 FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%' "
        "AND pid <> pg_backend_pid()"
    )
    process.terminate()
    assert (await ended(process)).code == 143
    assert await odd.fetch(SCRATCH) == [(0,)]


async def test_scratch_schemas_of_one_at_work_are_left_alone(odd: Fleet) -> None:
    both = await asyncio.gather(odd.command("snapshot"), odd.command("snapshot", "--check"))
    assert [result.code for result in both] in ([0, 0], [0, 5])
    async with odd.connection() as conn:
        await scratch.sweep(conn)
    assert await odd.fetch(SCRATCH) == [(0,)]


async def test_it_is_not_made_while_the_shared_schema_is_behind(odd: Fleet) -> None:
    odd.write("shared/0002_more.sql", "CREATE TABLE more ();")
    result = await odd.asked("snapshot")
    assert (result.code, "shared migrations are pending" in result.err) == (6, True)


async def test_grants_of_the_files_come_along(odd: Fleet) -> None:
    text = await made(odd)
    assert "REVOKE ALL ON FUNCTION counting() FROM PUBLIC" in text


async def test_files_outside_of_transactions_are_in_one_for_a_new_tenant(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_around.sql",
        "-- migrate:up transaction:false\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS notes_body ON notes (body);\n"
        "CREATE UNIQUE INDEX CONCURRENTLY notes_once ON notes (id, body);\n"
        "DROP INDEX CONCURRENTLY notes_once;\n"
        "VACUUM (ANALYZE) notes;\n"
        "REINDEX INDEX CONCURRENTLY notes_body;\n"
        "CREATE TABLE p (n int) PARTITION BY LIST (n); CREATE TABLE p1 PARTITION OF p DEFAULT;\n"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);\n"
        "ALTER TABLE p DETACH PARTITION p1;\n"
        "ALTER TABLE p DETACH PARTITION p2 CONCURRENTLY;\n",
    )
    await new(fleet, "t_new")
    assert {
        row[0]
        for row in await fleet.fetch("SELECT indexname FROM pg_indexes WHERE schemaname = 't_new'")
    } == {"notes_pkey", "notes_body"}
    assert {"t_new.p2", "t_new.p1"} <= await fleet.tables()


async def test_what_cannot_be_in_a_transaction_is_refused_for_a_new_tenant(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_never.sql",
        "-- migrate:up transaction:false\nCREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p;",
    )
    with pytest.raises(MigrationError, match=r"0002_never\.sql:2"):
        await new(fleet, "t_new")


async def test_deferred_constraints_are_checked_after_each_file(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_deferred.sql",
        "CREATE TABLE child (note bigint REFERENCES notes DEFERRABLE INITIALLY DEFERRED);\n"
        "INSERT INTO child VALUES (1); INSERT INTO notes (body) VALUES ('one');",
    )
    fleet.write("tenant/0003_alter.sql", "ALTER TABLE child ADD COLUMN n int;")
    fleet.write(
        "tenant/0004_again.sql",
        "INSERT INTO child VALUES (2); INSERT INTO notes (body) VALUES ('two');",
    )
    await new(fleet, "t_new")
    fleet.write("tenant/0005_wrong.sql", "INSERT INTO child VALUES (99);")
    fleet.write("tenant/0006_after.sql", "SELECT 1;")
    with pytest.raises(MigrationError, match=r"0005_wrong\.sql"):
        await new(fleet, "t_other")


async def test_files_that_use_an_enum_value_they_add_make_a_tenant(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_mood.sql",
        "CREATE TYPE mood AS ENUM ('low'); ALTER TABLE notes ADD mood mood DEFAULT 'low';",
    )
    fleet.write("tenant/0003_high.sql", "ALTER TYPE mood ADD VALUE 'high';")
    fleet.write("tenant/0004_use.sql", "INSERT INTO notes (body, mood) VALUES ('x', 'high');")
    async with provision.administrator(fleet.settings) as admin:
        schema = (await admin.create("acme")).tenant.schema
        fleet.write("tenant/0005_broken.sql", "SELECT 1 / 0;")
        with pytest.raises(MigrationError, match=r"0005_broken\.sql"):
            await admin.create("globex")
    assert await fleet.versions() == {"acme": "0004"}
    assert await fleet.fetch(f"SELECT mood::text FROM {schema}.notes") == [("high",)]
    assert await fleet.fetch(
        "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 't\\_%' "
        "AND coalesce(obj_description(oid), '') NOT LIKE 'tenancy version=0004%'"
    ) == [(0,)]
    assert await fleet.fetch(SCRATCH) == [(0,)]


async def test_python_files_come_along(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_rows.py",
        "async def up(context):\n"
        "    await context.conn.execute(\"INSERT INTO notes (body) VALUES ('from python')\")\n",
    )
    fleet.write("tenant/0003_done.sql", "ALTER TABLE notes ADD done boolean;")
    fleet.write(
        "tenant/0004_fill.py",
        "# migrate:up transaction:false\n"
        "async def up(context):\n"
        "    async for batch in context.batches('notes'):\n"
        "        await context.conn.execute('UPDATE notes SET done = true')\n",
    )
    await new(fleet, "t_replayed")
    text = await made(fleet)
    assert "'from python', 'true'" in text
    await new(fleet, "t_copied")
    rows = await fleet.fetch("TABLE t_copied.notes")
    assert rows == await fleet.fetch("TABLE t_replayed.notes") == [(1, "from python", True)]


async def test_it_lies_beside_migrations_that_are_the_whole_folder(fleet: Fleet) -> None:
    flat = Fleet(fleet.dsn, fleet.sql / "tenant")
    (fleet.sql / "tenant/0002_more.up.sql").write_text("CREATE TABLE more ();")
    (fleet.sql / "tenant/0001_notes.sql").rename(fleet.sql / "tenant/0001_notes.up.sql")
    assert (await flat.asked("snapshot")).code == 0
    assert (flat.sql / SNAPSHOT).exists()
    assert (await flat.asked("snapshot", "--check")).code == 0
    await new(flat, "t_copied")
    assert "baseline" in str(await flat.fetch("SELECT kind FROM tenancy.migrations"))


@pytest.mark.parametrize("command", ["verify --against files", "snapshot", "baseline 0002 --all"])
async def test_files_that_write_elsewhere_are_not_tried(fresh: Fleet, command: str) -> None:
    """What they write would stay when the scratch schema goes, once more with each command."""
    fresh.write("shared/0001_log.sql", "CREATE TABLE log (schema text PRIMARY KEY);")
    fresh.write(
        "tenant/0002_log.sql",
        "INSERT INTO log VALUES (current_schema());\n"
        "CREATE TABLE refers (schema text REFERENCES log);\n"
        "INSERT INTO refers VALUES (current_schema()); DROP TABLE refers;",
    )
    (await fresh.up()).raise_for_failures()
    await fresh.add("acme")
    if "baseline" not in command:
        (await fresh.up()).raise_for_failures()
    before = await fresh.fetch("SELECT * FROM shared.log")
    done = await fresh.asked(*command.split())
    assert done.code == 6
    assert "tenant/0002_log.sql: changes rows of shared.log" in done.err
    assert await fresh.fetch("SELECT * FROM shared.log") == before
    assert await fresh.fetch(SCRATCH) == [(0,)]


async def test_files_that_only_refer_elsewhere_are(fresh: Fleet) -> None:
    fresh.write("shared/0001_tags.sql", "CREATE TABLE tags (name text PRIMARY KEY);")
    fresh.write("shared/0002_tags.sql", "INSERT INTO tags VALUES ('a');")
    fresh.write(
        "tenant/0002_tags.sql",
        "CREATE TABLE tagged (tag text REFERENCES tags); INSERT INTO tagged VALUES ('a');\n"
        "INSERT INTO tags VALUES ('a') ON CONFLICT DO NOTHING;\n"
        "CREATE TABLE gone (tag text REFERENCES tags); DROP TABLE gone;",
    )
    (await fresh.up()).raise_for_failures()
    await made(fresh)
