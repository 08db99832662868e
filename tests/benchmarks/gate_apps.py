"""The same one-query view three times: through the gate, by the book, fused by hand."""

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from quart import Quart, request

from tenancy import Tenancy
from tenancy.scope import Scope

QUERY = "SELECT id, body FROM notes ORDER BY id LIMIT 20"
DSN = os.environ.get("TENANCY_DATABASE_URL", "")
SCHEMAS: dict[str, str] = json.loads(os.environ.get("BENCHMARK_SCHEMAS", "{}"))  # by slug
POOL_SIZE = 10

RESET = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;"  # asyncpg's own

Read = Callable[[asyncpg.Pool, str], Awaitable[list[Any]]]


def local(schema: str) -> str:
    return f'SET LOCAL search_path = "{schema}", shared, pg_temp; SET LOCAL ROLE "{schema}"'


async def by_the_book(pool: asyncpg.Pool, schema: str) -> list[Any]:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(local(schema))
        return list(await conn.fetch(QUERY))


async def fused_by_hand(pool: asyncpg.Pool, schema: str) -> list[Any]:
    """The fewest round trips, and none of the gate's promises: no guard, no error path."""
    async with pool.acquire() as conn:
        await conn.execute(f"BEGIN; {local(schema)}")
        rows = list(await conn.fetch(QUERY))
        await conn.execute(f"COMMIT; {RESET}")
        return rows


async def fused_with_promises(pool: asyncpg.Pool, schema: str) -> list[Any]:
    """The same with the gate's own SQL, guard and forgetting, and what a careful hand adds."""
    scope = Scope((schema, "shared"), role=schema, readonly=True)
    async with pool.acquire(timeout=5) as conn:
        try:
            await conn.execute(scope.entry().sql)
            rows = list(await conn.fetch(QUERY))
            tag = await conn.execute(scope.exit())
            assert tag == "COMMIT", tag
        except BaseException:
            conn.terminate()
            raise
        return rows


async def _nothing(_: asyncpg.Connection) -> None:
    pass


async def open_pool(dsn: str, *, fused: bool, size: int = POOL_SIZE) -> asyncpg.Pool:
    return await asyncpg.create_pool(
        dsn,
        min_size=size,
        max_size=size,
        reset=_nothing if fused else None,
        command_timeout=31,
        server_settings={"search_path": ""},
    )


def gate() -> Quart:
    app = Quart("gate")
    tenancy = Tenancy()
    tenancy.init_app(app)

    @app.get("/notes")
    async def notes() -> list[dict[str, Any]]:
        async with tenancy.transaction(readonly=True) as conn:
            return [dict(row) for row in await conn.fetch(QUERY)]

    return app


def book() -> Quart:
    return _baseline("book", by_the_book, fused=False)


def hand() -> Quart:
    return _baseline("hand", fused_by_hand, fused=True)


def _baseline(name: str, read: Read, *, fused: bool) -> Quart:
    app = Quart(name)
    pools: list[asyncpg.Pool] = []

    @app.before_serving
    async def start() -> None:
        pools.append(await open_pool(DSN, fused=fused))

    @app.after_serving
    async def stop() -> None:
        await pools.pop().close()

    @app.get("/notes")
    async def notes() -> list[dict[str, Any]]:
        schema = SCHEMAS[request.host.partition(".")[0]]
        return [dict(row) for row in await read(pools[0], schema)]

    return app
