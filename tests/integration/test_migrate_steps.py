"""Files that are no single transaction: crashes at every point, and what the catalog says then."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from support.fleets import Fleet
from support.wire import CUT, CUT_ANSWER, PASS, wire

from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Migration, Stage
from tenancy.migrate.files.source import Source
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.upgrade import retry
from tenancy.migrate.upgrade.runner import Upgrade
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


def written(
    text: str, version: str = "0001", previous: str = "", **directives: object
) -> Migration:
    source = Source(f"tenant/{version}_steps.sql", text)
    asked = replace(Directives(transactional=False), **directives)  # type: ignore[arg-type]
    return Migration(Stage.TENANT, version, "steps", f"sum of {text}", previous, source, asked)


@dataclass
class Schemas:
    fleet: Fleet
    numbers: "itertools.count[int]"

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
async def test_a_crash_at_any_point_leaves_nothing_half_done_or_done_twice(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch, verdict: str, *, killed: bool, long: bool
) -> None:
    if killed:
        monkeypatch.setattr(retry, "LOST_ATTEMPTS", 0)
    migration = written(EVERYTHING)
    cut = 0
    async with wire(schemas.fleet.dsn) as line:
        for number in range(0, 200, 1 if long else 3):
            schema = await schemas.made()
            line.verdict, met = nth(number + 3, verdict)
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
    assert cut > (60 if long else 20)
