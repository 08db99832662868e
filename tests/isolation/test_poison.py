"""G3: nothing of a request reaches the next one on its connection (pool of one, two tenants)."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from support.databases import Database, Open, let_everybody_make_temporary_tables
from support.notes import PRISTINE, memory, read, write

from tenancy import Tenancy, TenancyError

Poison = Callable[[Any], Awaitable[object]]


def _sql(text: str) -> Poison:
    async def poison(conn: asyncpg.Connection) -> None:
        await conn.execute(text)

    return poison


async def _listener(conn: asyncpg.Connection) -> None:
    await conn.add_listener("channel", lambda *_: None)


async def _codec(conn: asyncpg.Connection) -> None:
    await conn.set_type_codec(
        "text", schema="pg_catalog", encoder=str, decoder=lambda _: "decoded for another tenant"
    )


async def _named_statement(conn: asyncpg.Connection) -> None:
    await conn.prepare("SELECT 'a text of this tenant'", name="report")


async def _query_logger(conn: asyncpg.Connection) -> None:
    conn.add_query_logger(lambda record: SEEN.append(record.query))


async def _copy_injection(conn: asyncpg.Connection) -> None:
    await conn.copy_from_query(
        "SELECT 1) TO STDOUT; PREPARE planted AS SELECT 1; COPY (SELECT 1", output=_discard
    )


async def _copy_where_injection(conn: asyncpg.Connection) -> None:
    await conn.copy_records_to_table(
        "notes",
        records=[("new",)],
        columns=["body"],
        where="true; PREPARE planted AS SELECT 1; --",
    )


def _for_the_session(setting: str) -> Poison:
    """The value that the gate has set for the transaction, set for the session: no guard minds."""

    async def poison(conn: asyncpg.Connection) -> None:
        value = await conn.fetchval("SELECT current_setting($1)", setting)
        await conn.execute("SELECT set_config($1, $2, false)", setting, value)

    return poison


async def _discard(_: bytes) -> None:
    pass


async def _copy_injection_that_ends_well(conn: asyncpg.Connection) -> None:
    await conn.copy_from_query(
        "SELECT 1) TO STDOUT; PREPARE planted AS SELECT 1; --", output=_discard
    )


async def _redefined_statement(conn: asyncpg.Connection) -> None:
    """The attack on asyncpg's cache: put another text under the name it will execute."""
    name = await conn.fetchval(
        "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%FROM notes ORDER BY id%'"
    )
    await conn.execute(f'DEALLOCATE "{name}"; PREPARE "{name}" AS SELECT \'planted\'::text AS body')


async def _deallocated_statements(conn: asyncpg.Connection) -> None:
    await conn.execute("DEALLOCATE ALL")


SEEN: list[str] = []
ASYNCPG = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

POISONS: dict[str, Poison] = {
    "own path for the session": _for_the_session("search_path"),
    "own role for the session": _for_the_session("role"),
    "own marker for the session": _for_the_session("tenancy.scope"),
    "session path": _sql("SET search_path = public"),
    "local path": _sql("SET LOCAL search_path = public"),
    "path by set_config": _sql("SELECT set_config('search_path', 'public', false)"),
    "session role": _sql("SET ROLE NONE"),
    "reset role": _sql("RESET ROLE"),
    "role by set_config": _sql("SELECT set_config('role', 'none', false)"),
    "session authorization": _sql("RESET SESSION AUTHORIZATION"),
    "temporary table": _sql("CREATE TEMP TABLE notes (id int, body text)"),
    "temporary table by select": _sql("SELECT 1 AS id, 'x' AS body INTO TEMP notes"),
    "session advisory lock": _sql("SELECT pg_advisory_lock(42)"),
    "shared advisory lock": _sql("SELECT pg_advisory_lock_shared(42)"),
    "prepared name": _sql("PREPARE planted AS SELECT 1"),
    "prepared name in a DO block": _sql(
        "DO $$ BEGIN EXECUTE 'PREPARE planted AS SELECT 1'; END $$"
    ),
    "prepared name behind a select": _sql("SELECT 1; PREPARE planted AS SELECT 1"),
    "prepared name through COPY": _copy_injection,
    "prepared name through COPY, unseen": _copy_injection_that_ends_well,
    "prepared name through COPY of records": _copy_where_injection,
    "redefined statement": _redefined_statement,
    "deallocated statements": _deallocated_statements,
    "named statement": _named_statement,
    "listen": _sql("LISTEN channel"),
    "listener": _listener,
    "cursor with hold": _sql("DECLARE held CURSOR WITH HOLD FOR SELECT 1"),
    "sequence state": _sql("INSERT INTO notes (body) VALUES ('mine')"),
    "setting": _sql("SET work_mem = '64kB'"),
    "statement timeout": _sql("SET statement_timeout = 1"),
    "setting of our own": _sql("SET tenancy.scope = 'forged'"),
    "session characteristics": _sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
    "default isolation": _sql("SET default_transaction_isolation = 'serializable'"),
    "own commit": _sql("COMMIT"),
    "own commit and begin": _sql("COMMIT; BEGIN"),
    "own commit, then the session path": _sql("COMMIT; SET search_path = public; BEGIN"),
    "setting, then own commit": _sql("SET work_mem = '64kB'; COMMIT"),
    "temporary table, then own commit": _sql(
        "CREATE TEMP TABLE notes AS SELECT 1 AS id, 'planted' AS body; COMMIT"
    ),
    "lock and prepared name, then own commit": _sql(
        "SELECT pg_advisory_lock(42); PREPARE planted AS SELECT 1; COMMIT"
    ),
    "own commit, then a setting": _sql("COMMIT; SET work_mem = '64kB'"),
    "own rollback": _sql("ROLLBACK"),
    "own rollback, then a role": _sql("ROLLBACK; SET ROLE NONE"),
    "failed transaction": _sql("SELECT 1/0"),
    "open savepoint": _sql("SAVEPOINT mine"),
    "prepared transaction": _sql("PREPARE TRANSACTION 'mine'"),
    "codec": _codec,
    "query logger": _query_logger,
}


@pytest.mark.parametrize("isolation", ["role", "schema"])
@pytest.mark.parametrize("ending", ["returns", "raises"])
@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS.keys())
async def test_a_poison_does_not_reach_the_next_tenant(
    open_tenancy: Open, database: Database, poison: Poison, ending: str, isolation: str
) -> None:
    await let_everybody_make_temporary_tables(database)
    async with open_tenancy(pool_max_size=1, isolation=isolation) as tenancy:
        for slug in ("acme", "globex"):
            await write(tenancy, slug, f"of {slug}")
            assert await read(tenancy, slug) == [f"of {slug}"]  # both texts are in asyncpg's cache
        SEEN.clear()
        with suppress(TenancyError, *ASYNCPG, KeyError):
            async with tenancy.transaction("acme") as conn:
                await poison(conn)
                if ending == "raises":
                    raise KeyError
        if database.pooled:  # whoever comes next would make the server connection forget
            assert await memory(tenancy) == PRISTINE
        for _ in range(2):
            assert await read(tenancy, "globex") == ["of globex"]
        assert await memory(tenancy) == PRISTINE
        assert not [text for text in SEEN if "notes" in text]
        assert tenancy.pool.size == 1


async def test_no_poison_reaches_the_next_tenant_at_level_strict(open_tenancy: Open) -> None:
    """One after another over one pool; most are refused, and none is left to the reset alone."""
    async with open_tenancy(pool_max_size=1, isolation="strict") as tenancy:
        for slug in ("acme", "globex"):
            await write(tenancy, slug, f"of {slug}")
        for name, poison in POISONS.items():
            with suppress(TenancyError, *ASYNCPG):
                async with tenancy.transaction("acme") as conn:
                    await poison(conn)
            assert await read(tenancy, "globex") == ["of globex"], name
            assert await memory(tenancy) == PRISTINE, name


async def test_a_superusers_session_user_does_not_reach_the_next_tenant(
    open_tenancy: Open, database: Database
) -> None:
    url = database.superuser_url
    async with open_tenancy(pool_max_size=1, database_url=url) as tenancy:
        async with tenancy.transaction("acme") as conn:
            role = await conn.fetchval("SELECT current_user")
            await conn.execute(f'SET SESSION AUTHORIZATION "{role}"')
        assert await memory(tenancy) == PRISTINE
        assert await read(tenancy, "globex") == []
        assert tenancy.pool.size == 1
        async with tenancy.transaction("acme") as conn:
            assert await conn.fetchval("SELECT session_user") != role


async def test_a_block_cannot_use_its_connection_afterwards(both: Tenancy) -> None:
    async with both.transaction("acme") as conn:
        statement = await conn.prepare("SELECT body FROM notes")
    async with both.transaction("globex"):
        with pytest.raises(asyncpg.InterfaceError):
            await conn.fetch("SELECT body FROM notes")
        with pytest.raises(asyncpg.InterfaceError):
            await statement.fetch()


async def test_a_task_left_behind_cannot_reach_the_next_tenant(both: Tenancy) -> None:
    async def keep_reading(conn: asyncpg.Connection) -> list[str]:
        seen = []
        while True:
            try:
                seen += [row["body"] for row in await conn.fetch("SELECT body FROM notes")]
            except asyncpg.InterfaceError as error:
                if "another operation" not in str(error):
                    return seen
            except asyncpg.PostgresConnectionError:
                return seen

    left_behind = []
    for _ in range(20):
        with suppress(TenancyError):
            async with both.transaction("acme") as conn:
                left_behind.append(asyncio.create_task(keep_reading(conn)))
                await asyncio.sleep(0.002)
        assert await read(both, "globex") == ["of globex"]
    for task in left_behind:
        assert set(await task) <= {"of acme"}


async def test_a_commit_beside_a_running_statement_is_refused(both: Tenancy) -> None:
    with pytest.raises(TenancyError, match="still uses the connection"):
        async with both.transaction("acme") as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ('half done')")
            left_behind = asyncio.create_task(conn.fetch("SELECT pg_sleep(0.2)"))
            await asyncio.sleep(0.01)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await left_behind
    assert await read(both, "acme") == ["of acme"]
