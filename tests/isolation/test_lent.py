"""What a block lent out is refused after it, and beside itself, in words that say what to do."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy
from support.notes import PRISTINE, memory, read

from tenancy import Tenancy
from tenancy.errors import BlockEndedError, ConnectionBusyError, ScopeBrokenError

Use = Callable[[], Awaitable[object]]

# Each makes something of a connection inside its block; what it returns is used afterwards.


async def _connection(conn: asyncpg.Connection) -> Use:
    return lambda: conn.fetch("SELECT body FROM notes")


async def _plain_execute(conn: asyncpg.Connection) -> Use:
    return lambda: conn.execute("DELETE FROM notes")


async def _new_savepoint(conn: asyncpg.Connection) -> Use:
    async def use() -> None:
        async with conn.transaction():
            pass

    return use


async def _statement(conn: asyncpg.Connection) -> Use:
    statement = await conn.prepare("SELECT body FROM notes")
    fetch: Use = statement.fetch
    return fetch


async def _cursor_of_a_statement(conn: asyncpg.Connection) -> Use:
    statement = await conn.prepare("SELECT generate_series(1, 9)")
    cursor = await statement.cursor()
    return lambda: cursor.fetch(1)


async def _cursor(conn: asyncpg.Connection) -> Use:
    cursor = await conn.cursor("SELECT generate_series(1, 9)")
    assert len(await cursor.fetch(2)) == 2
    return lambda: cursor.fetch(1)


async def _iterated_cursor(conn: asyncpg.Connection) -> Use:
    rows = aiter(conn.cursor("SELECT generate_series(1, 200)"))
    await anext(rows)
    return lambda: anext(rows)


async def _cursor_not_opened(conn: asyncpg.Connection) -> Use:
    cursor = conn.cursor("SELECT 1")

    async def use() -> None:
        await cursor

    return use


async def _savepoint(conn: asyncpg.Connection) -> Use:
    savepoint = conn.transaction()
    await savepoint.start()
    commit: Use = savepoint.commit
    return commit


async def _copy(conn: asyncpg.Connection) -> Use:
    return lambda: conn.copy_records_to_table("notes", records=[("x",)], columns=["body"])


MADE = [
    _connection, _plain_execute, _new_savepoint, _statement, _cursor_of_a_statement, _cursor,
    _iterated_cursor, _cursor_not_opened, _savepoint, _copy,
]  # fmt: skip


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__.strip("_"))
async def test_what_a_block_lent_is_refused_after_it(both: Tenancy, make: Any) -> None:
    """Also while another tenant has the same connection."""
    async with both.transaction("acme") as conn:
        use = await make(conn)
    with pytest.raises(BlockEndedError, match=r"block .* has ended"):
        await use()
    async with both.transaction("globex") as other:
        with pytest.raises(BlockEndedError, match="open a block of its own"):
            await use()
        assert await other.fetchval("SELECT body FROM notes") == "of globex"
    assert await read(both, "acme") == ["of acme"]
    assert await memory(both) == PRISTINE


async def test_it_is_still_what_asyncpg_calls_it(tenancy: Tenancy) -> None:
    async with tenancy.transaction("acme") as conn:
        assert isinstance(conn, PoolConnectionProxy)
        assert isinstance(conn.transaction(), asyncpg.transaction.Transaction)
        statement = await conn.prepare("SELECT 1 AS one")
        assert isinstance(statement, asyncpg.prepared_stmt.PreparedStatement)
        assert await statement.fetchval() == 1
        assert [row["one"] async for row in statement.cursor()] == [1]
        cursor = await conn.cursor("SELECT generate_series(1, 4)")
        assert isinstance(cursor, asyncpg.cursor.Cursor)
        await cursor.forward(2)
        assert [row[0] for row in await cursor.fetch(9)] == [3, 4]
    assert isinstance(conn, PoolConnectionProxy)
    with pytest.raises(asyncpg.InterfaceError):
        conn.is_in_transaction()


async def test_a_block_that_failed_ends_it_as_well(tenancy: Tenancy) -> None:
    with pytest.raises(ZeroDivisionError):
        async with tenancy.transaction("acme") as conn:
            _ = 1 / 0
    with pytest.raises(BlockEndedError):
        await conn.fetch("SELECT 1")


async def test_a_connection_of_an_ended_block_does_not_fail_the_block_it_is_used_in(
    tenancy: Tenancy,
) -> None:
    async with tenancy.transaction("acme") as old:
        pass
    async with tenancy.transaction("acme") as conn:
        with pytest.raises(BlockEndedError):
            await old.execute("SELECT 1")
        await conn.execute("INSERT INTO notes (body) VALUES ('kept')")
    assert await read(tenancy, "acme") == ["kept"]


async def _slow(conn: asyncpg.Connection) -> None:
    await conn.execute("SELECT pg_sleep(30)")


async def _slow_cached(conn: asyncpg.Connection) -> None:
    await conn.fetch("SELECT pg_sleep($1)", 30)


async def _slow_statement(conn: asyncpg.Connection) -> None:
    await (await conn.prepare("SELECT pg_sleep(30)")).fetch()


@pytest.mark.parametrize("slow", [_slow, _slow_cached, _slow_statement])
@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__.strip("_"))
async def test_a_second_statement_beside_the_first_is_told_so(
    tenancy: Tenancy, make: Any, slow: Any
) -> None:
    with suppress(asyncio.CancelledError):
        async with tenancy.transaction("acme") as conn:
            use = await make(conn)
            await conn.fetch("SELECT body FROM notes")  # cached: it needs no PREPARE
            first = asyncio.create_task(slow(conn))
            await asyncio.sleep(0.03)
            if make is not _iterated_cursor:  # it has rows in hand
                with pytest.raises(ConnectionBusyError, match="one after the other"):
                    await use()
            first.cancel()
            await first
    assert first.cancelled()


async def test_a_task_group_on_one_connection_saves_nothing_and_says_why(tenancy: Tenancy) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with tenancy.transaction("acme") as conn:
            async with asyncio.TaskGroup() as group:
                for n in range(3):
                    group.create_task(conn.execute("INSERT INTO notes (body) VALUES ($1)", str(n)))
    assert caught.group_contains(ConnectionBusyError)
    assert await read(tenancy, "acme") == []


async def test_a_task_left_on_the_connection_saves_nothing(tenancy: Tenancy) -> None:
    with pytest.raises(ScopeBrokenError, match="await it inside"):
        async with tenancy.transaction("acme") as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ('lost')")
            left = asyncio.create_task(conn.execute("SELECT pg_sleep(5)"))
            await asyncio.sleep(0.03)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await left
    assert await read(tenancy, "acme") == []
