"""`rehearse`: what it tells, and that nothing of it stays."""

import asyncio
import json
import re
from typing import Any

import pytest
from support.fleets import Fleet, kill

from tenancy.migrate.rehearsal.records import Blocks, How, Rehearsal
from tenancy.migrate.rehearsal.rehearse import rehearse
from tenancy.migrate.rehearsal.stand import NotReplayableError

EVERYTHING = (
    "SELECT 'class', oid::int8, relname::text, relfilenode::int8, xmin::text FROM pg_class "
    "WHERE relname NOT LIKE 'pg_%' UNION ALL "
    "SELECT 'namespace', oid::int8, nspname::text, 0, xmin::text FROM pg_namespace UNION ALL "
    "SELECT 'type', oid::int8, typname::text, 0, xmin::text FROM pg_type UNION ALL "
    "SELECT 'attribute', attrelid::int8, attname::text, attnum, xmin::text FROM pg_attribute "
    "WHERE attrelid > 16384 UNION ALL "
    "SELECT 'constraint', oid::int8, conname::text, 0, xmin::text FROM pg_constraint "
    "ORDER BY 1, 2, 3, 4"
)


@pytest.fixture
async def behind(fleet: Fleet) -> Fleet:
    """Tenants acme and globex with rows, and the file 0001 alone."""
    await fleet.add("acme", "globex")
    await fleet.up()
    for schema in ("t_acme", "t_globex"):
        await fleet.execute(
            f"INSERT INTO {schema}.notes (body) SELECT 'x' FROM generate_series(1, 100)"
        )
    return fleet


async def _everything(fleet: Fleet) -> object:
    ledger = [
        await fleet.fetch(f"SELECT t::text, xmin::text FROM tenancy.{name} t ORDER BY 1")
        for name in ("migrations", "checkpoints", "failures", "steps", "backfills", "runs")
    ]
    rows = await fleet.fetch("SELECT ctid::text, xmin::text, n::text FROM t_acme.notes n")
    return await fleet.fetch(EVERYTHING), ledger, rows


async def _rehearsed(fleet: Fleet, how: How = How.CLONE, **options: Any) -> Rehearsal:
    (found,) = await rehearse(fleet.settings, how=how, **options)
    return found


@pytest.mark.parametrize("how", How)
async def test_it_tells_locks_rewrites_and_indexes(behind: Fleet, how: How) -> None:
    behind.write(
        "tenant/0002_more.sql",
        "ALTER TABLE notes ADD COLUMN a int;\n"
        "ALTER TABLE notes ALTER COLUMN body TYPE varchar(10);\n"
        "CREATE INDEX notes_a ON notes (a);\nCREATE TABLE tags (id int);\n",
    )
    found = await _rehearsed(behind, how)
    assert (found.tenant, found.version, found.failure) == ("acme", "0001", None)
    (tried,) = found.tried
    add, change, index, create = tried.steps
    assert [(one.table, one.mode) for one in add.locks] == [("notes", "AccessExclusiveLock")]
    assert add.place == "tenant/0002_more.sql:1:1"
    assert add.rewritten == ()
    assert [one.name for one in change.rewritten] == ["notes"]
    assert change.locks == ()  # it is held already
    assert index.built == ("notes_a",)
    assert (create.locks, create.built, create.rewritten) == ((), (), ())
    ((table, (blocks, seconds)),) = tried.blocked.items()
    assert (table, blocks) == ("notes", Blocks.EVERYTHING)
    assert seconds == pytest.approx(tried.seconds)


@pytest.mark.parametrize("how", How)
async def test_nothing_of_it_stays(behind: Fleet, how: How) -> None:
    behind.write(
        "tenant/0002_more.sql",
        "ALTER TABLE notes ADD COLUMN a int DEFAULT 1; UPDATE notes SET body = 'y';"
        "CREATE TYPE mood AS ENUM ('sad'); DELETE FROM notes; NOTIFY tenancy_registry;",
    )
    before = await _everything(behind)
    await _rehearsed(behind, how)
    assert await _everything(behind) == before
    behind.write("tenant/0003_bad.sql", "DROP TABLE notes; SELECT 1 / 0;")
    found = await _rehearsed(behind, how)
    assert found.failure is not None
    assert await _everything(behind) == before


@pytest.mark.parametrize("how", How)
async def test_nothing_stays_of_a_process_that_was_killed(behind: Fleet, how: How) -> None:
    behind.write("tenant/0002_slow.sql", "DROP TABLE notes;\nSELECT pg_sleep(30);")
    before = await _everything(behind)
    process = await behind.start("rehearse", "--tenant", "acme", f"--{how.replace(' ', '-')}")
    await behind.until(
        "SELECT count(*) > 0 FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%'"
    )
    await kill(process)
    await behind.until(
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'tenancy migrate%'"
    )
    if how is How.CLONE:  # whoever makes the next one drops it
        behind.write("tenant/0002_slow.sql", "SELECT 1;")
        await _rehearsed(behind)
    assert await _everything(behind) == before


async def test_rolled_back_it_meets_the_rows(behind: Fleet) -> None:
    behind.write(
        "tenant/0002_check.sql",
        "UPDATE notes SET body = 'z' WHERE id < 3;\nALTER TABLE notes ADD CHECK (body = 'x');\n",
    )
    assert (await _rehearsed(behind)).failure is None  # a clone has none
    found = await _rehearsed(behind, How.ROLLED_BACK)
    assert found.failure is not None
    assert found.failure.place == "tenant/0002_check.sql:2:1"
    assert found.failure.sqlstate == "23514"
    assert found.tried[0].steps[0].rows == 2


@pytest.mark.parametrize("how", How)
async def test_a_deferred_constraint_fails_where_commit_would(behind: Fleet, how: How) -> None:
    behind.write(
        "tenant/0002_pairs.sql",
        "CREATE TABLE pairs (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);\n"
        "INSERT INTO pairs VALUES (1), (1);",
    )
    found = await _rehearsed(behind, how)
    assert found.failure is not None
    assert found.failure.sqlstate == "23505"


async def test_each_file_shows_its_own_locks_in_a_clone(behind: Fleet) -> None:
    behind.write("tenant/0002_a.sql", "ALTER TABLE notes ADD COLUMN a int;")
    behind.write("tenant/0003_b.sql", "ALTER TABLE notes ADD COLUMN b int;")
    found = await _rehearsed(behind)
    assert [set(tried.blocked) for tried in found.tried] == [{"notes"}, {"notes"}]


async def test_what_a_file_does_outside_of_the_clone_is_taken_back(behind: Fleet) -> None:
    behind.write("shared/0001_kinds.sql", "CREATE TABLE kinds (id int PRIMARY KEY);")
    await behind.up()
    behind.write("tenant/0002_key.sql", "ALTER TABLE notes ADD kind int REFERENCES kinds;")
    behind.write("tenant/0003_kind.sql", "INSERT INTO kinds VALUES (1);")
    behind.write("tenant/0004_more.sql", "SELECT 1;")
    found = await _rehearsed(behind)
    assert [tried.outside for tried in found.tried] == ["", "shared.kinds"]
    assert await behind.fetch("SELECT count(*) FROM shared.kinds") == [(0,)]
    assert (
        await behind.fetch("SELECT 1 FROM pg_trigger WHERE tgrelid = 'shared.kinds'::regclass")
        == []
    )


async def test_what_is_no_transaction_runs_in_the_clone_alone(behind: Fleet) -> None:
    behind.write(
        "tenant/0002_index.sql",
        "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY notes_body ON notes (body);",
    )
    (tried,) = (await _rehearsed(behind)).tried
    assert tried.steps[0].built == ("notes_body",)
    assert tried.steps[0].concurrent
    assert tried.blocked == {}
    (tried,) = (await _rehearsed(behind, How.ROLLED_BACK)).tried
    assert tried.steps == ()
    assert "try a clone" in tried.skipped


async def test_each_statement_of_a_block_is_told(behind: Fleet) -> None:
    behind.write(
        "tenant/0002_index.sql",
        "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY notes_body ON notes (body);\n"
        "BEGIN;\nALTER TABLE notes ADD a int;\nUPDATE notes SET a = 1;\nCOMMIT;\n",
    )
    (tried,) = (await _rehearsed(behind)).tried
    assert tried.failure is None
    assert [step.place.rpartition(".sql:")[2] for step in tried.steps] == ["2:1", "4:1", "5:1"]


async def test_a_new_value_of_an_enum_is_told_to_be_tried_in_a_clone(behind: Fleet) -> None:
    behind.write("tenant/0002_mood.sql", "CREATE TYPE mood AS ENUM ('sad');")
    await behind.up()
    behind.write("tenant/0003_value.sql", "ALTER TYPE mood ADD VALUE 'glad';")
    behind.write("tenant/0004_use.sql", "CREATE TABLE moods (m mood DEFAULT 'glad');")
    assert (await _rehearsed(behind)).failure is None
    failure = (await _rehearsed(behind, How.ROLLED_BACK)).failure
    assert failure is not None
    assert "rehearse it in a clone" in failure.message


async def test_it_waits_for_no_lock_for_long(behind: Fleet) -> None:
    behind.write(
        "tenant/0002_a.sql",
        "DO $$ BEGIN ASSERT current_setting('lock_timeout') = '500ms'; END $$;"
        "ALTER TABLE notes ADD COLUMN a int;",
    )
    async with behind.connection() as conn, conn.transaction():
        await conn.execute("SELECT * FROM t_acme.notes LIMIT 1")
        failure = (await _rehearsed(behind, How.ROLLED_BACK)).failure
        assert failure is not None
        assert failure.sqlstate == "55P03"
        assert (await _rehearsed(behind)).failure is None  # of the tenant it locks nothing


async def test_it_holds_locks_for_no_longer_than_it_may(behind: Fleet) -> None:
    behind.write("tenant/0002_a.sql", "ALTER TABLE notes ADD COLUMN a int; SELECT pg_sleep(20);")
    failure = (await _rehearsed(behind, How.ROLLED_BACK, limit_seconds=0.3)).failure
    assert failure is not None
    assert "--limit" in failure.message


async def test_sequences_that_went_on_are_told(behind: Fleet) -> None:
    behind.write("tenant/0002_a.sql", "INSERT INTO notes (body) VALUES ('a'), ('b');")
    assert (await _rehearsed(behind)).advanced == ()
    assert (await _rehearsed(behind, How.ROLLED_BACK)).advanced == (("notes_id_seq", 2),)


async def test_what_sets_a_sequence_is_not_rolled_back(behind: Fleet) -> None:
    behind.write("tenant/0002_a.sql", "SELECT setval('notes_id_seq', 1);")
    done = await behind.asked("rehearse", "--rolled-back")
    assert done.code == 6
    assert "tenant/0002_a.sql:1:8: setval() is not undone" in done.err
    assert await behind.fetch("SELECT last_value FROM t_acme.notes_id_seq") == [(100,)]


@pytest.mark.parametrize("how", How)
async def test_a_python_file_is_tried_and_cannot_commit(behind: Fleet, how: How) -> None:
    behind.write(
        "tenant/0002_a.py",
        "async def up(context):\n"
        "    await context.conn.execute('ALTER TABLE notes ADD COLUMN a int')\n",
    )
    (tried,) = (await _rehearsed(behind, how)).tried
    assert tried.failure is None
    assert set(tried.blocked) == {"notes"}
    before = await _everything(behind)
    behind.write(
        "tenant/0002_a.py",
        "async def up(context):\n"
        "    await context.conn.execute('DROP TABLE notes')\n"
        "    await context.conn.execute('COMMIT')\n",
    )
    assert (await _rehearsed(behind, how)).failure is not None
    assert await _everything(behind) == before


async def test_a_python_file_that_rolls_back_can_only_read(behind: Fleet) -> None:
    behind.write(
        "tenant/0002_a.py",
        "async def up(context):\n"
        "    await context.conn.execute('ROLLBACK; BEGIN')\n"
        "    await context.conn.execute(f'CREATE TABLE {context.schema}.stays ()')\n"
        "    await context.conn.execute('COMMIT; BEGIN')\n",
    )
    before = await _everything(behind)
    failure = (await _rehearsed(behind, How.ROLLED_BACK)).failure
    assert failure is not None
    assert failure.sqlstate == "25006"
    assert await _everything(behind) == before


async def test_pending_shared_files_are_tried_when_rolled_back_alone(behind: Fleet) -> None:
    behind.write("shared/0001_kinds.sql", "CREATE TABLE kinds (id int PRIMARY KEY);")
    behind.write("tenant/0002_a.sql", "ALTER TABLE notes ADD kind int REFERENCES kinds;")
    found = await _rehearsed(behind, How.ROLLED_BACK)
    assert found.failure is None
    assert [tried.label for tried in found.tried] == ["shared/0001_kinds.sql", "tenant/0002_a.sql"]
    done = await behind.asked("rehearse")
    assert done.code == 6
    assert "--rolled-back" in done.err


async def test_files_that_do_not_make_the_structure_make_no_clone(behind: Fleet) -> None:
    await behind.execute("CREATE TABLE t_acme.there (id int); CREATE TABLE t_globex.there (id int)")
    behind.write("tenant/0002_a.sql", "ALTER TABLE there ADD COLUMN a int;")
    await behind.up()
    behind.write("tenant/0003_b.sql", "ALTER TABLE there ADD COLUMN b int;")
    with pytest.raises(NotReplayableError, match=r"tenant/0002_a.sql:1:\d+.*say --rolled-back"):
        await _rehearsed(behind)
    assert (await _rehearsed(behind, How.ROLLED_BACK)).failure is None


async def test_the_largest_tenants_can_be_asked_for(behind: Fleet) -> None:
    await behind.execute(
        "INSERT INTO t_globex.notes (body) SELECT 'x' FROM generate_series(1, 9999)"
    )
    behind.write("tenant/0002_a.sql", "SELECT 1;")
    found = await rehearse(behind.settings, sample=1)
    assert [one.tenant for one in found] == ["globex"]
    found = await rehearse(behind.settings, sample=5)
    assert [one.tenant for one in found] == ["globex", "acme"]


async def test_the_command_says_it_in_words(behind: Fleet) -> None:
    behind.write("tenant/0002_a.sql", "ALTER TABLE notes ADD COLUMN a int;")
    done = await behind.asked("rehearse")
    assert done.code == 0, done.err
    lines = [re.sub(r"\d\.\d{3} s", "N s", line) for line in done.out.splitlines()]
    assert lines == [
        "acme (t_acme), from 0001, in a clone",
        "tenant/0002_a.sql: N s",
        "    1:1 ALTER TABLE notes ADD COLUMN: N s; locks notes (AccessExclusiveLock: reads and "
        "writes wait)",
        "    reads and writes of notes wait for N s in tenant/0002_a.sql",
        "verdict: would pass: 1 file in N s (without rows); reads and writes of notes wait for N s "
        "in tenant/0002_a.sql",
    ]
    await behind.up()
    assert (await behind.asked("rehearse")).out == "nothing pending\n"


async def test_a_failure_ends_the_command_with_3(behind: Fleet) -> None:
    behind.write("tenant/0002_a.sql", "SELECT 1;\nALTER TABLE nowhere ADD COLUMN a int;")
    behind.write("tenant/0003_b.sql", "SELECT 1;")
    done = await behind.asked("rehearse", "--json")
    assert done.code == 3
    found = json.loads(done.out)
    assert found["passed"] is False
    assert found["failure"]["place"] == "tenant/0002_a.sql:2:1"
    assert [one["file"] for one in found["files"]] == ["tenant/0002_a.sql"]


async def test_a_tenant_under_migration_is_left_alone(behind: Fleet) -> None:
    behind.write("tenant/0002_slow.sql", "CREATE TABLE tags (id int); SELECT pg_sleep(1.5);")
    run = asyncio.create_task(behind.up())
    await behind.until(
        "SELECT count(*) > 0 FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE '%pg_sleep(1.5)%' "
        "AND pid <> pg_backend_pid()"
    )
    found = await rehearse(behind.settings, how=How.ROLLED_BACK, tenants=["acme"])
    await run
    assert all(one.failure is None for one in found)
    assert set((await behind.versions()).values()) == {"0002"}


# And `lint`, where it asks a database


async def test_lint_pending_looks_at_what_some_schema_lacks(behind: Fleet) -> None:
    behind.write("tenant/0002_pending.sql", "SET search_path = x;")
    await behind.add("initech")
    done = await behind.asked("lint", "--pending", "--json")
    assert done.code == 8, done.err
    *found, total = map(json.loads, done.out.splitlines())
    assert {one["file"] for one in found} == {"tenant/0002_pending.sql"}
    assert total["files"] == 2  # initech lacks the first one too
    await behind.execute("DELETE FROM tenancy.tenants WHERE slug = 'initech'")
    done = await behind.asked("lint", "--pending", "--json")
    assert json.loads(done.out.splitlines()[-1])["files"] == 1
