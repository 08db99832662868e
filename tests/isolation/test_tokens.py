"""TOKEN: odd texts, and a real server's word for what they are."""

import random

import asyncpg
from support import texts
from support.databases import Database, superuser

from tenancy.errors import StatementRefusedError
from tenancy.pool import statements

ROWS = {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"}  # tags of what strict runs


async def _tag(conn: asyncpg.Connection, sql: str) -> str:
    """Return the first word of the server's tag, or ``error``."""
    savepoint = conn.transaction()
    await savepoint.start()
    try:
        statement = await conn.prepare(sql)
        await statement.fetch()
        return str(statement.get_statusmsg()).split()[0]
    except asyncpg.PostgresError:
        return "error"
    finally:
        await savepoint.rollback()


async def test_the_server_runs_no_other_statement_of_what_is_admitted(
    empty_database: Database, long: bool
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    admitted = refused = 0
    async with superuser(empty_database.admin_url) as conn:
        await conn.execute("CREATE TABLE public.own (id int)")
        outer = conn.transaction()
        await outer.start()
        for _ in range(20_000 if long else 2_000):
            sql = rng.choice((texts.forbidden, texts.honest, texts.odd, texts.odd))(rng)
            try:
                statements.admit(sql)
            except StatementRefusedError:
                refused += 1
                continue
            admitted += 1
            tag = await _tag(conn, sql)
            assert tag in {*ROWS, "error"}, (seed, sql, tag)
        await outer.rollback()
    print("admitted", admitted, "refused", refused)
    assert min(admitted, refused) > 100


async def test_the_server_runs_what_is_honest_and_strict_admits_it(
    empty_database: Database, long: bool
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    async with superuser(empty_database.admin_url) as conn:
        await conn.execute("CREATE TABLE public.own (id int)")
        outer = conn.transaction()
        await outer.start()
        for _ in range(10_000 if long else 500):
            sql = texts.honest(rng)
            statements.admit(sql)
            assert await _tag(conn, sql) in ROWS, (seed, sql)
        await outer.rollback()


async def test_the_server_runs_the_forbidden_texts_that_are_to_succeed(
    empty_database: Database,
) -> None:
    """Else the first test would prove nothing."""
    rng = random.Random(7)
    async with superuser(empty_database.admin_url) as conn:
        outer = conn.transaction()
        await outer.start()
        for core in texts.SUCCEEDING:
            for _ in range(5):
                tag = await _tag(conn, texts.prefix(rng) + texts.cased(rng, core))
                assert tag not in {"error", *ROWS}, core
        await outer.rollback()
