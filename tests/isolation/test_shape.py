"""G12: tenants whose tables differ get right answers over one connection, and no lasting error."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from support.databases import Open
from support.notes import write

from tenancy import StatementCache, Tenancy
from tenancy.errors import TenantNotReadyError


@dataclass(frozen=True)
class Difference:
    """What acme and globex have under one name, a query of it, and what each must answer."""

    acme: str
    globex: str
    query: str
    args: tuple[Any, ...]
    acme_answers: list[tuple[Any, ...]]
    globex_answers: list[tuple[Any, ...]]
    globex_args: tuple[Any, ...] | None = None


DIFFERENCES = {
    "a column more": Difference(
        "CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 2)",
        "CREATE TABLE t (a int); INSERT INTO t VALUES (3)",
        "SELECT * FROM t", (), [(1, 2)], [(3,)],
    ),
    "another order of columns": Difference(
        "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x')",
        "CREATE TABLE t (b text, a int); INSERT INTO t VALUES ('y', 2)",
        "SELECT * FROM t WHERE a > $1", (0,), [(1, "x")], [("y", 2)],
    ),
    "another type of a column": Difference(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1)",
        "CREATE TABLE t (a text); INSERT INTO t VALUES ('one')",
        "SELECT a FROM t", (), [(1,)], [("one",)],
    ),
    "a wider integer as a parameter": Difference(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1)",
        "CREATE TABLE t (a bigint); INSERT INTO t VALUES (1)",
        "SELECT count(*) FROM t WHERE a = $1", (1,), [(1,)], [(1,)],
    ),
    "a parameter that would be rounded": Difference(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1)",
        "CREATE TABLE t (a numeric); INSERT INTO t VALUES (1), (1.5)",
        "SELECT count(*) FROM t WHERE a = $1", (1,), [(1,)], [(1,)], (Decimal("1.5"),),
    ),
    "a parameter that would be cut": Difference(
        "CREATE TABLE t (a date); INSERT INTO t VALUES ('2026-01-01')",
        "CREATE TABLE t (a timestamp); INSERT INTO t VALUES ('2026-01-01 15:30')",
        "SELECT count(*) FROM t WHERE a = $1",
        (date(2026, 1, 1),), [(1,)], [(1,)], (datetime(2026, 1, 1, 15, 30),),  # noqa: DTZ001
    ),
    "a parameter that would not fit": Difference(
        "CREATE TABLE t (a int)",
        "CREATE TABLE t (a bigint); INSERT INTO t VALUES (1099511627776)",
        "SELECT count(*) FROM t WHERE a = $1", (1,), [(0,)], [(1,)], (2**40,),
    ),
    "an enum as a result": Difference(
        "CREATE TYPE mood AS ENUM ('up'); CREATE TABLE t (m mood); INSERT INTO t VALUES ('up')",
        "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (m mood); INSERT INTO t VALUES ('sad')",
        "SELECT m FROM t", (), [("up",)], [("sad",)],
    ),
    "an enum as a parameter": Difference(
        "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (m mood); INSERT INTO t VALUES ('a')",
        "CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (m mood)",
        "SELECT count(*) FROM t WHERE m = $1", ("a",), [(1,)], [(0,)],
    ),
    "an array of an enum": Difference(
        "CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (m mood[]); INSERT INTO t VALUES ('{a}')",
        "CREATE TYPE mood AS ENUM ('b'); CREATE TABLE t (m mood[]); INSERT INTO t VALUES ('{b}')",
        "SELECT m FROM t", (), [(["a"],)], [(["b"],)],
    ),
    "a domain with another rule": Difference(
        "CREATE DOMAIN d AS int CHECK (VALUE < 10); CREATE TABLE t (a d); INSERT INTO t VALUES (5)",
        "CREATE DOMAIN d AS int CHECK (VALUE > 1); CREATE TABLE t (a d); INSERT INTO t VALUES (50)",
        "SELECT a FROM t WHERE a = $1::d OR a = 50", (5,), [(5,)], [(50,)],
    ),
    "a composite type": Difference(
        "CREATE TYPE p AS (a int, b int); CREATE TABLE t (p p); INSERT INTO t VALUES ('(1,2)')",
        "CREATE TYPE p AS (a text); CREATE TABLE t (p p); INSERT INTO t VALUES (ROW('x'))",
        "SELECT p FROM t", (), [((1, 2),)], [(("x",),)],
    ),
    "a row of the table": Difference(
        "CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 2)",
        "CREATE TABLE t (a int); INSERT INTO t VALUES (3)",
        "SELECT t FROM t", (), [((1, 2),)], [((3,),)],
    ),
    "a view in place of a table": Difference(
        "CREATE VIEW t AS SELECT 1 AS a, 2 AS b",
        "CREATE TABLE t (a int); INSERT INTO t VALUES (3)",
        "SELECT * FROM t", (), [(1, 2)], [(3,)],
    ),
    "a function with another result": Difference(
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1; "
        "GRANT EXECUTE ON FUNCTION f() TO PUBLIC",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql RETURN 'one'; "
        "GRANT EXECUTE ON FUNCTION f() TO PUBLIC",
        "SELECT f()", (), [(1,)], [("one",)],
    ),
    "a partitioned table": Difference(
        "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE TABLE t_1 PARTITION OF t DEFAULT; "
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE t (a int); INSERT INTO t VALUES (2)",
        "SELECT a FROM t", (), [(1,)], [(2,)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("choice", StatementCache)
@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES.keys())
async def test_tenants_that_differ_at_one_version_get_right_answers_in_turn(
    open_tenancy: Open,
    owner: asyncpg.Connection,
    difference: Difference,
    choice: StatementCache,
) -> None:
    for slug, sql in (("acme", difference.acme), ("globex", difference.globex)):
        await _become(owner, slug)
        await owner.execute(sql)
    expected = {
        "acme": (difference.args, difference.acme_answers),
        "globex": (difference.globex_args or difference.args, difference.globex_answers),
    }
    async with open_tenancy(pool_max_size=1, statement_cache=choice) as tenancy:
        for _ in range(6):
            for slug, (args, answers) in expected.items():
                async with tenancy.transaction(slug) as conn:
                    rows = await conn.fetch(difference.query, *args)
                    assert [tuple(row) for row in rows] == answers
        assert tenancy.pool.size == 1


async def test_a_statement_that_does_not_fit_later_in_the_block_fails_once_and_not_again(
    open_tenancy: Open, owner: asyncpg.Connection
) -> None:
    async with open_tenancy(pool_max_size=1, statement_cache="version") as tenancy:
        for slug in ("acme", "globex"):
            await write(tenancy, slug, slug)
        assert await _later(tenancy, "acme") == await _later(tenancy, "globex") == 4
        await owner.execute("ALTER TABLE notes ADD pinned boolean")
        with pytest.raises(asyncpg.InvalidCachedStatementError):
            await _later(tenancy, "acme")
        for _ in range(3):
            assert await _later(tenancy, "acme") == 5
            assert await _later(tenancy, "globex") == 4


async def test_a_cursor_never_meets_tables_of_another_shape(
    open_tenancy: Open, owner: asyncpg.Connection
) -> None:
    async with open_tenancy(pool_max_size=1) as tenancy:
        await write(tenancy, "acme", "of acme")
        for columns in (4, 4, 4, 4, 4, 5, 5):
            if columns == 5:
                await owner.execute("ALTER TABLE notes ADD IF NOT EXISTS pinned boolean")
            async with tenancy.transaction("acme") as conn:
                assert [len(row) async for row in conn.cursor("SELECT * FROM notes")] == [columns]


async def test_what_ran_before_a_statement_that_does_not_fit_is_not_run_twice(
    open_tenancy: Open, owner: asyncpg.Connection
) -> None:
    insert = "INSERT INTO notes (body) VALUES ('once') RETURNING *"
    async with open_tenancy(pool_max_size=1) as tenancy:
        for expected in (4, 5):
            async with tenancy.transaction("acme") as conn:
                assert len(await conn.fetchrow(insert)) == expected
                assert await conn.fetchval("SELECT count(*) FROM notes") == expected - 3
            await owner.execute("ALTER TABLE notes ADD IF NOT EXISTS pinned boolean")


async def test_a_wrong_type_in_a_statement_of_the_blocks_own_is_its_own_error(
    both: Tenancy,
) -> None:
    for _ in range(2):
        with pytest.raises(asyncpg.DatatypeMismatchError):
            async with both.transaction("acme") as conn:
                await conn.execute("UPDATE notes SET created_at = $1::int", 1)


async def test_half_a_fleet_goes_ahead_under_load(
    open_tenancy: Open, owner: asyncpg.Connection, long: bool
) -> None:
    """acme is migrated back and forth, each time with another result for ``SELECT *``."""
    requests = 100_000 if long else 2_000
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    counts: Counter[str] = Counter()

    async with open_tenancy(pool_max_size=4, registry_ttl_seconds=0.3) as tenancy:
        for slug in ("acme", "globex"):
            await write(tenancy, slug, slug)

        async def client() -> None:
            while counts["requests"] < requests:
                counts["requests"] += 1
                slug = chance.choice(("acme", "globex"))
                try:
                    async with tenancy.transaction(slug, readonly=True) as conn:
                        row = await conn.fetchrow("SELECT * FROM notes WHERE id = $1", 1)
                        body = await conn.fetchval("SELECT body FROM notes WHERE id = $1", 1)
                except TenantNotReadyError:  # migrated thrice while it waited: a busy machine
                    counts["told to come again"] += 1
                    continue
                assert row["body"] == body == slug
                assert len(row) == 4 or slug == "acme"
                counts[f"{len(row)} columns"] += 1
                counts["answers"] += 1

        async def answered(more: int) -> None:
            until = counts["answers"] + more
            while counts["answers"] < until and counts["requests"] < requests:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

        async def migrator() -> None:
            version = 2
            while counts["requests"] < requests:
                change = "DROP pinned" if version % 2 else "ADD pinned boolean"
                async with owner.transaction():
                    await owner.execute(f"ALTER TABLE notes {change}")
                    await owner.execute(
                        "UPDATE tenancy.checkpoints SET version = $1 "
                        "WHERE schema_name = current_schema()",
                        f"{version:04}",
                    )
                version += 1
                await answered(12)  # by the clock, a slow machine migrates more often than that
            counts["migrations"] = version - 2

        await asyncio.gather(*(client() for _ in range(8)), migrator())
    assert counts["told to come again"] < requests / 10
    print(dict(counts))
    assert counts["5 columns"]
    assert counts["4 columns"]


async def _become(owner: asyncpg.Connection, slug: str) -> None:
    schema = await owner.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = $1", slug)
    await owner.execute(f'SET search_path = "{schema}"')


async def _later(tenancy: Tenancy, slug: str) -> int:
    async with tenancy.transaction(slug, readonly=True) as conn:
        await conn.fetchval("SELECT 1")
        return len(await conn.fetchrow("SELECT * FROM notes WHERE id = $1", 1))
