"""Files that are no single transaction: crashes at every point, and what the catalog says then."""

import asyncio
import contextlib
import itertools
import random
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from unittest.mock import AsyncMock

import asyncpg
import pytest
from support.fleets import Fleet
from support.wire import CUT, CUT_ANSWER, PASS, wire

from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.upgrade import persistent, retry
from tenancy.migrate.upgrade.runner import Upgrade
from tenancy.migrate.upgrade.script import MigrationFailedError, NeedsDecisionError
from tenancy.migrate.upgrade.session import Session

EVERYTHING = """
CREATE TABLE log (n int);
CREATE INDEX CONCURRENTLY named ON notes (body);
SET work_mem = '7MB';
INSERT INTO log SELECT 1 WHERE current_setting('work_mem') = '7MB';
CREATE UNIQUE INDEX CONCURRENTLY ON notes (body, n);
UPDATE notes SET n = n + 1;
ALTER TYPE mood ADD VALUE 'new';
INSERT INTO log SELECT 2 WHERE 'new' = ANY (enum_range(NULL::mood)::text[]);
DROP INDEX CONCURRENTLY named;
REINDEX TABLE CONCURRENTLY notes;
VACUUM notes;
ALTER TABLE parts DETACH PARTITION part CONCURRENTLY;
UPDATE notes SET n = n + 1;
"""
BEFORE = """
CREATE TABLE {0}.notes (body text PRIMARY KEY, n int);
INSERT INTO {0}.notes VALUES ('a', 0), ('b', 0);
CREATE TYPE {0}.mood AS ENUM ('old');
CREATE TABLE {0}.parts (n int) PARTITION BY LIST (n);
CREATE TABLE {0}.part PARTITION OF {0}.parts FOR VALUES IN (1);
"""


@dataclass
class Schemas:
    fleet: Fleet
    numbers: "itertools.count[int]"

    def file(self, text: str, options: str = "transaction:false") -> Migration:
        """The one file of tenants."""
        for path in (self.fleet.sql / "tenant").iterdir():
            path.unlink()
        self.fleet.write("tenant/0001_steps.sql", f"-- migrate:up {options}\n{text}")
        (migration,) = self.fleet.files.tenant
        return migration

    async def made(self, before: str = BEFORE) -> SchemaRef:
        name = f"t_steps_{next(self.numbers)}"
        await self.fleet.execute(f"CREATE SCHEMA {name}; {before.format(name)}")
        ((oid,),) = await self.fleet.fetch("SELECT oid FROM pg_namespace WHERE nspname = $1", name)
        return SchemaRef(oid, name)

    async def upgraded(self, schema: SchemaRef, *files: Migration, dsn: str = "") -> Upgrade:
        fleet = replace(self.fleet, dsn=dsn or self.fleet.dsn)
        async with Session(fleet.settings) as session:
            upgrade = Upgrade(session, schema, files, None, shared="shared")
            assert (await upgrade.run()).verdict is Verdict.CURRENT
            return upgrade

    async def indexes(self, schema: SchemaRef) -> dict[str, bool]:
        rows = await self.fetch(
            "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c "
            "ON c.oid = i.indexrelid WHERE c.relnamespace = $1",
            schema.oid,
        )
        return {str(name): bool(valid) for name, valid in rows}

    async def fetch(self, sql: str, *args: object) -> list[tuple[object, ...]]:
        return await self.fleet.fetch(sql, *args)

    async def begun(self, schema: SchemaRef, number: int, text: str) -> None:
        """As left by a crash: the statement was begun, and nobody saw its end."""
        await self.fleet.execute(
            "INSERT INTO tenancy.steps (schema_oid, version, step, schema_name, statement) "
            f"VALUES ({schema.oid}, '0001', {number}, '{schema.name}', "
            f"encode(sha256(convert_to($t${text}$t$, 'UTF8')), 'hex'))"
        )


@pytest.fixture
async def schemas(fleet: Fleet) -> Schemas:
    return Schemas(fleet, itertools.count())


def nth(number: int, verdict: str) -> tuple[Callable[[bytes], str], list[bytes]]:
    """Return what gives *verdict* on burst *number* of what is sent, and what it was."""
    left = itertools.count(-number)
    met: list[bytes] = []

    def decide(data: bytes) -> str:
        if next(left) == 0:
            met.append(data)
            return verdict
        return PASS

    return decide, met


async def whole(schemas: Schemas, schema: SchemaRef) -> None:
    name = schema.name
    assert await schemas.fetch(f"SELECT n FROM {name}.notes") == [(2,), (2,)]
    assert await schemas.fetch(f"SELECT n FROM {name}.log ORDER BY n") == [(1,), (2,)]
    assert await schemas.indexes(schema) == {"notes_pkey": True, "notes_body_n_idx": True}
    assert not await schemas.fetch(
        f"SELECT inhrelid FROM pg_inherits WHERE inhparent = '{name}.parts'::regclass"
    )
    assert await schemas.fetch(
        "SELECT count(*) FROM tenancy.migrations WHERE schema_oid = $1 AND milliseconds >= 0",
        schema.oid,
    ) == [(1,)]


@pytest.mark.parametrize("verdict", [CUT, CUT_ANSWER])
@pytest.mark.parametrize("killed", [False, True], ids=["the connection", "the runner"])
async def test_a_crash_at_any_point_leaves_nothing_half_done_or_done_twice(  # noqa: PLR0913
    schemas: Schemas,
    monkeypatch: pytest.MonkeyPatch,
    verdict: str,
    seed: int,
    *,
    killed: bool,
    long: bool,
) -> None:
    if killed:
        monkeypatch.setattr(retry, "LOST_ATTEMPTS", 0)
    monkeypatch.setattr(persistent, "backoff", AsyncMock())
    migration = schemas.file(EVERYTHING)
    cut, offset = 0, 0 if long else random.Random(seed).randrange(9)
    async with wire(schemas.fleet.dsn) as line:
        for number in range(3, 200, 1 if long else 9):
            schema = await schemas.made()
            line.verdict, met = nth(number + offset, verdict)
            try:
                await schemas.upgraded(schema, migration, dsn=line.url)
            except Exception:
                assert killed
                line.verdict = lambda _: PASS
                await schemas.upgraded(schema, migration)
            await whole(schemas, schema)
            cut += len(met)
            if not met:
                break
    print(f"cut at {cut} points")
    assert cut > (60 if long else 6)


# What the catalog says

SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ"  # what is built CONCURRENTLY waits for its end

ROWS = "CREATE TABLE {0}.notes (body text, n int); INSERT INTO {0}.notes VALUES ('a', 0), ('b', 0);"
NAMED = "CREATE UNIQUE INDEX CONCURRENTLY fine ON notes (n)"
UNNAMED = "CREATE UNIQUE INDEX CONCURRENTLY ON notes (n)"


async def refused(schemas: Schemas, schema: SchemaRef, statement: str) -> None:
    """Run a statement that fails half-way, in the schema; then mend what it failed of."""
    async with schemas.fleet.connection() as conn:
        await conn.execute(f"SET search_path = {schema.name}")
        with pytest.raises(asyncpg.UniqueViolationError):
            await conn.execute(statement)
        await conn.execute("UPDATE notes SET n = ascii(body)")


@pytest.mark.parametrize("state", ["absent", "invalid", "valid"])
@pytest.mark.parametrize("statement", [NAMED, UNNAMED], ids=["named", "unnamed"])
async def test_an_index_in_doubt_is_built_unless_it_is_valid(
    schemas: Schemas, statement: str, state: str
) -> None:
    schema = await schemas.made(ROWS)
    migration = schemas.file(f"{statement};\nINSERT INTO notes VALUES ('c', 1000);")
    await schemas.begun(schema, 1, statement)
    await schemas.fleet.execute("UPDATE tenancy.steps SET indexes = '{}'")
    if state == "invalid":
        await refused(schemas, schema, statement)
        assert list((await schemas.indexes(schema)).values()) == [False]
    else:
        await schemas.fleet.execute(f"UPDATE {schema.name}.notes SET n = ascii(body)")
    if state == "valid":
        await schemas.fleet.execute(
            statement.replace("CONCURRENTLY ", "").replace("ON ", f"ON {schema.name}.")
        )
    before = await schemas.fetch("SELECT indexrelid FROM pg_index ORDER BY 1")
    await schemas.upgraded(schema, migration)
    name = "fine" if statement == NAMED else "notes_n_idx"
    assert await schemas.indexes(schema) == {name: True}
    if state == "valid":
        assert await schemas.fetch("SELECT indexrelid FROM pg_index ORDER BY 1") == before


async def test_an_invalid_index_does_not_hide_behind_if_not_exists(schemas: Schemas) -> None:
    schema = await schemas.made(ROWS)
    await refused(schemas, schema, NAMED)
    text = NAMED.replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS")
    await schemas.upgraded(schema, schemas.file(f"{text};"))
    assert await schemas.indexes(schema) == {"fine": True}


async def test_an_index_that_cannot_be_built_fails_in_words_and_leaves_nothing(
    schemas: Schemas,
) -> None:
    schema = await schemas.made(ROWS)
    migration = schemas.file(f"SELECT 1;\n  {NAMED};")
    with pytest.raises(MigrationFailedError) as caught:
        await schemas.upgraded(schema, migration)
    failure = caught.value.failure
    assert (failure.place, failure.sqlstate) == ("tenant/0001_steps.sql:3:3", "23505")
    assert not isinstance(caught.value, NeedsDecisionError)
    assert await schemas.indexes(schema) == {}
    assert await schemas.fetch("SELECT step, finished_at IS NULL FROM tenancy.steps") == [
        (1, False)
    ]
    await schemas.fleet.execute(f"UPDATE {schema.name}.notes SET n = ascii(body)")
    await schemas.upgraded(schema, migration)


@pytest.mark.parametrize("there", [True, False])
async def test_dropping_an_index_in_doubt_is_done_when_it_is_gone(
    schemas: Schemas, *, there: bool
) -> None:
    schema = await schemas.made(ROWS)
    if there:
        await schemas.fleet.execute(f"CREATE INDEX old ON {schema.name}.notes (n)")
    statement = "DROP INDEX CONCURRENTLY old"
    await schemas.begun(schema, 1, statement)
    await schemas.upgraded(schema, schemas.file(f"{statement};"))
    assert await schemas.indexes(schema) == {}


PARTS = """
CREATE TABLE {0}.parts (n int PRIMARY KEY) PARTITION BY LIST (n);
CREATE TABLE {0}.part PARTITION OF {0}.parts FOR VALUES IN (1);
"""


@contextlib.asynccontextmanager
async def abandoned(
    schemas: Schemas, schema: SchemaRef, table: str, sql: str
) -> AsyncIterator[None]:
    """Have *sql* wait for somebody who reads *table*, and give it up."""
    async with schemas.fleet.connection() as reader, schemas.fleet.connection() as conn:
        await reader.execute(f"{SNAPSHOT}; TABLE {schema.name}.{table}")
        await conn.execute(f"SET search_path = {schema.name}; SET statement_timeout = '300ms'")
        with pytest.raises(asyncpg.QueryCanceledError):
            await conn.execute(sql)
        await reader.execute("ROLLBACK")
        yield


async def test_a_partition_that_is_half_detached_is_finalized(schemas: Schemas) -> None:
    schema = await schemas.made(PARTS)
    statement = "ALTER TABLE parts DETACH PARTITION part CONCURRENTLY"
    await schemas.begun(schema, 1, statement)
    async with abandoned(schemas, schema, "parts", statement):
        assert (True,) in await schemas.fetch("SELECT inhdetachpending FROM pg_inherits")
        await schemas.upgraded(schema, schemas.file(f"{statement};"))
    assert await schemas.fetch(
        "SELECT relispartition FROM pg_class WHERE oid = $1::regclass", f"{schema.name}.part"
    ) == [(False,)]


async def test_what_a_broken_reindex_left_is_taken_away(schemas: Schemas) -> None:
    schema = await schemas.made(PARTS)
    statement = "REINDEX TABLE CONCURRENTLY part"
    await schemas.begun(schema, 1, statement)
    async with abandoned(schemas, schema, "part", statement):
        assert False in (await schemas.indexes(schema)).values()
        await schemas.upgraded(schema, schemas.file(f"{statement};"))
    assert await schemas.indexes(schema) == {"parts_pkey": True, "part_pkey": True}


async def test_a_statement_that_can_be_repeated_is(schemas: Schemas) -> None:
    schema = await schemas.made(ROWS)
    await schemas.begun(schema, 1, "VACUUM notes")
    await schemas.upgraded(schema, schemas.file("VACUUM notes;"))


# What it cannot say

HALVES = """DO $$ BEGIN
    UPDATE notes SET n = n + 1; COMMIT; UPDATE notes SET n = n + 10;
END $$"""


async def test_what_nobody_can_tell_waits_for_a_person_and_the_others_go_on(
    schemas: Schemas,
) -> None:
    fleet = schemas.fleet
    schemas.file(f"CREATE TABLE before (n int);\n{HALVES.replace('UPDATE', 'INSERT')};")
    schemas.file(f"CREATE TABLE notes (n int);\nINSERT INTO notes VALUES (0);\n{HALVES};")
    await fleet.add("acme", "globex")
    oid = (await fleet.fetch("SELECT oid FROM pg_namespace WHERE nspname = 't_acme'"))[0][0]
    await schemas.begun(SchemaRef(oid, "t_acme"), 3, HALVES)
    first = await fleet.up()
    assert {r.tenant: str(r.outcome) for r in first.results} == {
        "acme": "needs-decision",
        "globex": "applied",
    }
    assert first.exit_code() == 3
    why = next(r.why for r in first.results if r.tenant == "acme")
    assert why.startswith("tenant/0001_steps.sql:4:1: DO: begun at ")
    command = re.search(r"python -m tenancy.migrate (resolve [^`]*) --done", why)
    assert command is not None
    assert await fleet.fetch("SELECT n FROM t_globex.notes") == [(11,)]
    assert await fleet.fetch("SELECT n FROM t_acme.notes") == [(0,)]

    said = await fleet.asked(*command[1].split(), "--again")
    assert (said.code, "to be run again" in said.out) == (0, True)
    again = await fleet.up()
    assert [(r.tenant, r.applied) for r in again.results] == [("acme", ("0001",))]
    assert await fleet.fetch("SELECT n FROM t_acme.notes") == [(11,)]
    assert await fleet.fetch(
        "SELECT options ->> 'done' FROM tenancy.runs WHERE command = 'resolve'"
    ) == [("false",)]
    assert (await fleet.asked(*command[1].split(), "--done")).code == 6


async def test_what_a_person_says_is_done_is_not_done_again(schemas: Schemas) -> None:
    fleet = schemas.fleet
    schemas.file(f"CREATE TABLE notes (n int);\nINSERT INTO notes VALUES (0);\n{HALVES};")
    await fleet.add("acme")
    oid = (await fleet.fetch("SELECT oid FROM pg_namespace WHERE nspname = 't_acme'"))[0][0]
    await schemas.begun(SchemaRef(oid, "t_acme"), 3, HALVES)
    await fleet.up()
    resolve = ("resolve", "acme", "--version", "1", "--step", "3")  # leading zeros may be left out
    assert (await fleet.asked(*resolve)).code == 2
    assert (await fleet.asked(*resolve, "--done")).code == 0
    assert (await fleet.up()).exit_code() == 0
    assert await fleet.fetch("SELECT n FROM t_acme.notes") == [(0,)]
    who = await fleet.fetch("SELECT resolved_by = session_user FROM tenancy.steps WHERE step = 3")
    assert who == [(True,)]


async def test_an_idempotent_file_is_run_again(schemas: Schemas) -> None:
    schema = await schemas.made(ROWS)
    statement = "DO $$ BEGIN UPDATE notes SET n = 1; COMMIT; END $$"
    await schemas.begun(schema, 1, statement)
    await schemas.upgraded(
        schema, schemas.file(f"{statement};", "transaction:false idempotent:true")
    )
    assert await schemas.fetch(f"SELECT DISTINCT n FROM {schema.name}.notes") == [(1,)]


async def test_a_procedure_that_failed_after_its_own_commit_is_in_doubt(schemas: Schemas) -> None:
    schema = await schemas.made(ROWS)
    migration = schemas.file(
        "DO $$ BEGIN UPDATE notes SET n = n + 1; COMMIT; PERFORM 1 / 0; END $$;"
    )
    with pytest.raises(MigrationFailedError, match="22012"):
        await schemas.upgraded(schema, migration)
    with pytest.raises(NeedsDecisionError):
        await schemas.upgraded(schema, migration)
    assert await schemas.fetch(f"SELECT DISTINCT n FROM {schema.name}.notes") == [(1,)]


async def test_a_statement_changed_after_it_was_begun_is_refused(schemas: Schemas) -> None:
    schema = await schemas.made(ROWS)
    with pytest.raises(MigrationFailedError):
        await schemas.upgraded(schema, schemas.file("CREATE TABLE a (n int);\nSELECT nope;"))
    changed = schemas.file("CREATE TABLE b (n int);\nSELECT 1;")
    with pytest.raises(MigrationFailedError, match=r"statement 1 was begun at .* and changed"):
        await schemas.upgraded(schema, changed)
    await schemas.upgraded(schema, schemas.file("CREATE TABLE a (n int);\nSELECT 1;"))


async def test_what_a_file_sets_is_set_again_by_each_attempt(schemas: Schemas) -> None:
    schema = await schemas.made(ROWS)
    text = "CREATE TABLE a (n int);\nSET work_mem = '7MB';\n"
    for _ in range(2):
        with pytest.raises(MigrationFailedError):
            await schemas.upgraded(schema, schemas.file(f"{text}SELECT nope;"))
    seen = "CREATE TABLE seen AS SELECT current_setting('work_mem');"
    await schemas.upgraded(schema, schemas.file(f"{text}{seen}"))
    assert await schemas.fetch(f"TABLE {schema.name}.seen") == [("7MB",)]


async def test_a_block_of_such_a_file_is_one_statement(schemas: Schemas) -> None:
    schema = await schemas.made(ROWS)
    migration = schemas.file(
        "VACUUM notes;\nBEGIN;\nUPDATE notes SET n = 1;\nSELECT nope;\nCOMMIT;\nSELECT 1;"
    )
    with pytest.raises(MigrationFailedError) as caught:
        await schemas.upgraded(schema, migration)
    assert caught.value.failure.place == "tenant/0001_steps.sql:5:8"
    assert await schemas.fetch(f"SELECT DISTINCT n FROM {schema.name}.notes") == [(0,)]


async def test_a_file_in_steps_leaves_nothing_to_the_next_tenant(schemas: Schemas) -> None:
    migration = schemas.file(
        "SET work_mem = '7MB';\nCREATE TEMP TABLE secret (n int);\nPREPARE p AS SELECT 1;"
    )
    async with Session(schemas.fleet.settings) as session:
        schema = await schemas.made(ROWS)
        await Upgrade(session, schema, (migration,), None, shared="shared").run()
        conn = await session.connection()
        assert await conn.fetchval("SELECT to_regclass('secret')") is None
        assert await conn.fetchval("SHOW work_mem") != "7MB"
        assert await conn.fetchval("SHOW search_path") == ""
        assert await conn.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0


async def test_what_is_built_concurrently_waits_for_as_long_as_it_takes(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "CONTENTION_ATTEMPTS", 1)
    look = "CREATE TABLE seen_{0} AS SELECT current_setting('lock_timeout')"
    schema = await schemas.made(ROWS)
    text = f"CREATE INDEX CONCURRENTLY i ON notes (n);\n{look.format('usual')};"
    migration = schemas.file(text)
    async with schemas.fleet.connection() as reader:
        await reader.execute(f"{SNAPSHOT}; TABLE {schema.name}.notes")
        run = asyncio.create_task(schemas.upgraded(schema, migration))
        await asyncio.sleep(2.5)  # longer than the lock timeout of other statements
        assert not run.done()
        await reader.execute("ROLLBACK")
        await run
    assert await schemas.fetch(f"TABLE {schema.name}.seen_usual") == [("2s",)]


async def test_an_index_that_somebody_else_is_building_is_left_to_him(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "CONTENTION_ATTEMPTS", 1)
    schema = await schemas.made("CREATE TABLE {0}.notes (body text, n int)")
    migration = schemas.file(f"{NAMED.replace('CONCURRENTLY', 'CONCURRENTLY IF NOT EXISTS')};")
    async with schemas.fleet.connection() as reader, schemas.fleet.connection() as other:
        await reader.execute(f"{SNAPSHOT}; TABLE {schema.name}.notes")
        await other.execute(f"SET search_path = {schema.name}")
        build = asyncio.create_task(other.execute(NAMED))
        await schemas.fleet.until("SELECT count(*) > 0 FROM pg_index WHERE NOT indisvalid")
        with pytest.raises(MigrationFailedError, match="another session is building"):
            await schemas.upgraded(schema, migration)
        await reader.execute("ROLLBACK")
        await build
    await schemas.upgraded(schema, migration)
    assert await schemas.indexes(schema) == {"fine": True}


async def test_a_block_is_one_transaction_even_where_a_procedure_ends_it(schemas: Schemas) -> None:
    """Else it would be run in pieces, and those before the one that fails a second time."""
    migration = schemas.file("BEGIN;\nUPDATE notes SET n = n + 1;\nCALL ends();\nCOMMIT;")
    schema = await schemas.made(
        BEFORE + "CREATE PROCEDURE {0}.ends() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;"
    )
    with pytest.raises(MigrationFailedError, match=r":4:1: \[2D000\]"):
        await schemas.upgraded(schema, migration)
    assert await schemas.fetch(f"SELECT DISTINCT n FROM {schema.name}.notes") == [(0,)]
