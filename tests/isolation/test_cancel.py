"""G7: cancelled at any point, a block is rolled back, its slot comes back, and nobody notices."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from support.databases import Open
from support.notes import PRISTINE, memory, read

from tenancy import Tenancy, TenancyError


async def _insert(tenancy: Tenancy, body: str) -> str:
    async with tenancy.transaction("acme") as conn:
        await conn.execute("INSERT INTO notes (body) VALUES ($1)", body)
        await conn.fetchval("SELECT count(*) FROM notes")
    return body


async def _every_slot_back(tenancy: Tenancy) -> None:
    """Releases go on after a cancellation, for the command timeout and a second at most."""
    for _ in range(100):
        if tenancy.pool.idle == tenancy.pool.size:
            return
        await asyncio.sleep(0.05)
    raise AssertionError((tenancy.pool.idle, tenancy.pool.size))


async def _backends_in_transaction(server_url: str, database: str) -> int:
    conn = await asyncpg.connect(server_url)
    try:
        return int(
            await conn.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state <> 'idle' "
                "AND application_name = 'tenancy'",
                database,
            )
        )
    finally:
        await conn.close()


async def test_a_cancelled_query_leaves_no_backend_in_a_transaction(
    tenancy: Tenancy, server_url: str
) -> None:
    async def sleep_in_the_server() -> None:
        async with tenancy.transaction("acme") as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ('half done')")
            await conn.fetch("SELECT pg_sleep(60)")

    task = asyncio.create_task(sleep_in_the_server())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await read(tenancy, "acme") == []
    name = str(tenancy.settings.dsn).rsplit("/", 1)[1].split("?")[0]
    assert await _backends_in_transaction(server_url, name) == 0
    assert await memory(tenancy) == PRISTINE


async def test_waiting_for_a_slot_ends_at_the_deadline(open_tenancy: Open) -> None:
    async with open_tenancy(pool_max_size=1, pool_acquire_timeout_seconds=0.2) as tenancy:
        async with tenancy.transaction("acme") as conn:
            with pytest.raises(TenancyError, match="busy"):
                await asyncio.create_task(_insert(tenancy, "too late"))
            await conn.fetch("SELECT 1")
        assert await _insert(tenancy, "in time") == "in time"


async def test_a_statement_over_its_time_is_cancelled_by_the_server(open_tenancy: Open) -> None:
    async with open_tenancy(pool_max_size=1, statement_timeout_seconds=0.2) as tenancy:
        with pytest.raises(asyncpg.QueryCanceledError):
            async with tenancy.transaction("acme") as conn:
                await conn.fetch("SELECT pg_sleep(60)")
        assert await read(tenancy, "acme") == []


async def test_a_transaction_left_idle_is_ended_by_the_server(open_tenancy: Open) -> None:
    async with open_tenancy(pool_max_size=1, idle_in_transaction_timeout_seconds=0.2) as tenancy:
        with pytest.raises((TenancyError, asyncpg.PostgresError)):
            async with tenancy.transaction("acme") as conn:
                await conn.execute("INSERT INTO notes (body) VALUES ('idle')")
                await asyncio.sleep(0.6)
        assert await read(tenancy, "acme") == []


async def test_back_ends_killed_under_load_lose_and_double_nothing(
    open_tenancy: Open, server_url: str, long: bool
) -> None:
    acknowledged: set[str] = set()
    uncertain: set[str] = set()

    async with open_tenancy(pool_max_size=4) as tenancy:
        name = tenancy.settings.dsn.rsplit("/", 1)[1].split("?")[0]
        killer = await asyncpg.connect(server_url)

        async def client(number: int) -> None:
            for n in range(2000 if long else 100):
                body = f"{number}-{n}"
                try:
                    acknowledged.add(await _insert(tenancy, body))
                except (TenancyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    uncertain.add(body)

        async def kill() -> None:
            while True:
                await asyncio.sleep(0.05)
                await killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = $1 AND application_name = 'tenancy' "
                    "ORDER BY random() LIMIT 1",
                    name,
                )

        killing = asyncio.create_task(kill())
        await asyncio.gather(*(client(n) for n in range(8)))
        killing.cancel()
        with suppress(asyncio.CancelledError):
            await killing
        await killer.close()
        rows = await read(tenancy, "acme")
        assert len(rows) == len(set(rows))
        assert acknowledged <= set(rows) <= acknowledged | uncertain
        assert await read(tenancy, "globex") == []
        await _every_slot_back(tenancy)
