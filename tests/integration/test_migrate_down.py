"""The way back: what `down` takes back, and what it refuses."""

import asyncpg
import pytest
from support.fleets import NOTES, Fleet
from support.wire import CUT_ANSWER, wire

from tenancy import migrate
from tenancy.errors import MigrationRefusedError, UnknownTenantError

DOWN = """-- migrate:up
ALTER TABLE notes ADD a int;
-- migrate:down
ALTER TABLE notes DROP a;
"""


@pytest.fixture
async def two(fleet: Fleet) -> Fleet:
    """Tenants acme and globex at 0003."""
    await fleet.add("acme", "globex")
    fleet.write("tenant/0002_a.sql", DOWN)
    fleet.write("tenant/0003_b.sql", DOWN.replace("ADD a", "ADD b").replace("DROP a", "DROP b"))
    (await fleet.up()).raise_for_failures()
    return fleet


async def columns(fleet: Fleet, schema: str) -> set[object]:
    rows = await fleet.fetch(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 "
        "AND NOT attisdropped",
        f"{schema}.notes",
    )
    return {row[0] for row in rows}


async def test_a_tenant_goes_back_and_up_again(two: Fleet) -> None:
    said = await two.asked("down", "--to", "1", "--tenant", "acme", "--yes")
    assert (said.code, said.out) == (0, "acme (t_acme): took back 0003, 0002\n")
    assert await two.versions() == {"acme": "0001", "globex": "0003"}
    assert await columns(two, "t_acme") == {"id", "body"}
    assert await columns(two, "t_globex") == {"id", "body", "a", "b"}
    assert await two.fetch(
        "SELECT schema_name, version, run_id IS NOT NULL FROM tenancy.reversals ORDER BY id"
    ) == [("t_acme", "0003", True), ("t_acme", "0002", True)]
    report = await two.up()
    assert [(r.tenant, r.applied) for r in report.results] == [("acme", ("0002", "0003"))]


async def test_all_can_be_taken_back(fleet: Fleet) -> None:
    fleet.write("tenant/0001_notes.sql", f"{NOTES}\n-- migrate:down\nDROP TABLE notes;")
    await fleet.add("acme")
    await fleet.execute("COMMENT ON SCHEMA t_acme IS 'a good customer''s'")
    comment = "SELECT obj_description('t_acme'::regnamespace)"
    await fleet.up()
    digest = fleet.files.tenant[0].digest
    stamp = f"a good customer's\ntenancy version=0001 digest={digest}"
    assert await fleet.fetch(comment) == [(stamp,)]
    await migrate.down(fleet.settings, "0", ["acme"])
    assert await fleet.versions() == {"acme": None}
    assert await fleet.fetch(comment) == [("a good customer's",)]
    assert (await fleet.up()).exit_code() == 0
    assert await fleet.fetch(comment) == [(stamp,)]


async def test_a_file_that_was_changed_is_not_taken_back(two: Fleet) -> None:
    two.write("tenant/0003_b.sql", DOWN)
    with pytest.raises(MigrationRefusedError, match=r"0003_b\.sql: changed after it was applied"):
        await migrate.down(two.settings, "1", ["acme"])
    assert await columns(two, "t_acme") == {"id", "body", "a", "b"}


async def test_a_file_without_a_way_back_is_refused_before_anything_runs(two: Fleet) -> None:
    said = await two.asked("down", "--to", "0", "--tenant", "globex", "--tenant", "acme", "--yes")
    assert said.code == 6
    assert "globex: tenant/0001_notes.sql: has no way back" in said.err
    assert await two.versions() == {"acme": "0003", "globex": "0003"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--to", "0001"), 2, "--tenant"),
        (("--to", "0001", "--tenant", "nobody", "--yes"), 2, "nobody"),
        (("--to", "7", "--tenant", "acme", "--yes"), 6, "no tenant file has the version '7'"),
        (("--to", "0001", "--tenant", "acme"), 2, "add --yes"),
    ],
)
async def test_what_is_not_said_clearly_is_not_done(
    two: Fleet, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = await two.asked("down", *arguments)
    assert (said.code, words in said.err) == (code, True), said
    assert await two.versions() == {"acme": "0003", "globex": "0003"}


async def test_a_failure_leaves_what_was_taken_back_before_it(two: Fleet) -> None:
    two.write("tenant/0004_c.sql", DOWN.replace("ADD a", "ADD c").replace("DROP a", "DROP nope"))
    two.write("tenant/0005_d.sql", DOWN.replace("ADD a", "ADD d").replace("DROP a", "DROP d"))
    await two.up()
    said = await two.asked("down", "--to", "3", "--tenant", "acme", "--yes", "--json")
    assert said.code == 3
    assert '"versions": ["0005"]' in said.out
    assert '"place": "tenant/0004_c.sql:4:1"' in said.out
    assert (await two.versions())["acme"] == "0004"
    assert await columns(two, "t_acme") == {"id", "body", "a", "b", "c"}


STEPS = """-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY i ON notes (body);
CREATE TABLE counted (n int);
INSERT INTO counted VALUES (0);
-- migrate:down transaction:false
UPDATE counted SET n = n + 1;
DROP INDEX CONCURRENTLY i;
ALTER TABLE counted RENAME TO counted_back;
"""


async def test_a_way_back_in_steps_survives_a_crash_at_every_point(two: Fleet) -> None:
    two.write("tenant/0004_steps.sql", STEPS)
    cut = 0
    async with wire(two.dsn) as line:
        for number in range(4, 60, 5):
            await two.up(tenants=["acme"])
            left = [number]

            def decide(_: bytes, left: list[int] = left) -> str:
                left[0] -= 1
                return CUT_ANSWER if left[0] == 0 else "pass"

            line.verdict = decide
            through = Fleet(line.url, two.sql).settings
            try:
                await migrate.down(through, "3", ["acme"])
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await migrate.down(two.settings, "3", ["acme"])
            cut += left[0] <= 0
            assert await two.fetch("SELECT n FROM t_acme.counted_back") == [(1,)]
            assert await two.fetch("SELECT to_regclass('t_acme.i')") == [(None,)]
            assert (await two.versions())["acme"] == "0003"
            await two.execute("DROP TABLE t_acme.counted_back")
    assert cut > 5


async def test_a_schema_that_is_half_way_back_is_left_alone_until_it_is_there(two: Fleet) -> None:
    two.write("tenant/0004_steps.sql", STEPS.replace("RENAME TO", "RENAME nope TO"))
    await two.up()
    (result,) = await migrate.down(two.settings, "3", ["acme"])
    assert result.failure is not None
    assert result.failure.place == "tenant/0004_steps.sql:8:1"
    two.write("tenant/0005_more.sql", "CREATE TABLE more (id int);")
    report = await two.up()
    assert [(r.tenant, str(r.outcome)) for r in report.results] == [
        ("acme", "refused"),
        ("globex", "applied"),
    ]
    assert "half-way back from 0004" in report.results[0].reason
    await two.execute("ALTER TABLE t_acme.counted ADD nope int")
    (result,) = await migrate.down(two.settings, "3", ["acme"])
    assert (result.failure, result.versions) == (None, ("0004",))
    assert await two.fetch("SELECT n FROM t_acme.counted") == [(1,)]


async def test_nothing_is_taken_back_below_a_baseline(two: Fleet) -> None:
    files = two.files.tenant
    await two.execute(
        "DELETE FROM tenancy.migrations WHERE schema_name = 't_acme' AND version < '0003'; "
        f"UPDATE tenancy.migrations SET checksum = '{files[1].digest}', kind = 'baseline', "
        "version = '0002' WHERE schema_name = 't_acme'; "
        f"UPDATE tenancy.checkpoints SET digest = '{files[1].digest}', version = '0002' "
        "WHERE schema_name = 't_acme'"
    )
    with pytest.raises(MigrationRefusedError, match="everything up to 0002 came as one"):
        await migrate.down(two.settings, "1", ["acme"])
    assert (await migrate.down(two.settings, "2", ["acme"]))[0].versions == ()


async def test_python_goes_back_too(two: Fleet) -> None:
    two.write(
        "tenant/0004_py.py",
        "async def up(context):\n    await context.conn.execute('CREATE TABLE p (n int)')\n\n\n"
        "async def down(context):\n    await context.conn.execute('DROP TABLE p')\n",
    )
    await two.up()
    assert (await migrate.down(two.settings, "3", ["acme"]))[0].versions == ("0004",)
    assert "t_acme.p" not in await two.tables()
    with pytest.raises(UnknownTenantError):
        await migrate.down(two.settings, "3", ["nobody"])


async def test_nothing_is_taken_from_under_a_file_that_is_half_way_up(fleet: Fleet) -> None:
    """Else its first statement would count as done when the table is there again, without it."""
    await fleet.add("acme")
    fleet.write(
        "tenant/0002_a.sql", "CREATE TABLE tags (a int);\n-- migrate:down\nDROP TABLE tags;"
    )
    fleet.write(
        "tenant/0003_b.sql",
        "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY tags_a ON tags (a);\n"
        "SELECT 1 / count(*) FROM notes;",
    )
    assert (await fleet.up()).exit_code() == 3
    done = await fleet.asked("down", "--to", "1", "--tenant", "acme", "--yes")
    assert (done.code, done.out) == (6, "")
    assert "acme: 0003: a part of it was done" in done.err
    assert await fleet.fetch("SELECT to_regclass('t_acme.tags_a') IS NOT NULL") == [(True,)]
    await fleet.execute("INSERT INTO t_acme.notes (body) VALUES ('a')")
    (await fleet.up()).raise_for_failures()


async def test_nothing_is_taken_from_under_a_backfill(fleet: Fleet) -> None:
    """Else it would go on behind its key, over rows that have lost what it wrote."""
    await fleet.add("acme")
    fleet.write("tenant/0002_a.sql", DOWN)
    (await fleet.up()).raise_for_failures()
    fleet.write(
        "tenant/0003_b.py",
        "# migrate:up transaction:false\nasync def up(context):\n"
        "    async for batch in context.batches('notes', size=1):\n"
        "        await batch.conn.execute(\n"
        "            'UPDATE notes SET a = 1 / (2 - id) WHERE id = ANY ($1)', batch.keys)\n",
    )
    await fleet.execute("INSERT INTO t_acme.notes (body) VALUES ('a'), ('b')")
    assert (await fleet.up()).exit_code() == 3
    with pytest.raises(MigrationRefusedError, match="0003: a part of it was done"):
        await migrate.down(fleet.settings, "1", ["acme"])
    assert await fleet.fetch("SELECT a FROM t_acme.notes ORDER BY id") == [(1,), (None,)]


@pytest.mark.parametrize(
    "words",
    [
        ("down", "--to", "0", "--tenant", "acme", "--yes"),
        ("resolve", "acme", "--version", "0001", "--step", "1", "--done"),
    ],
)
async def test_a_database_of_nobody_is_told(fresh: Fleet, words: tuple[str, ...]) -> None:
    done = await fresh.asked(*words)
    assert (done.code, "there is no ledger yet: run" in done.err) == (6, True)
