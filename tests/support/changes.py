"""Changes of the registry, as an operator makes them; and how long until they are seen."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from support.databases import Database
from tenancy import Tenancy

LISTENERS = "application_name = 'tenancy listener' AND datname = current_database()"
SEEN_SECONDS = 30.0  # of patience on a busy machine; what is promised is under one, and printed


async def execute(database: Database, text: str) -> None:
    conn = await asyncpg.connect(database.admin_url)
    try:
        await conn.execute(text)
    finally:
        await conn.close()


async def until(condition: Callable[[], Awaitable[bool]], what: str = "") -> float:
    """Wait until *condition* holds; return and print the seconds it took."""
    begun = time.perf_counter()
    async with asyncio.timeout(SEEN_SECONDS):
        while not await condition():  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.002)
    seconds = time.perf_counter() - begun
    if what:
        print(f"{what}: {seconds * 1000:.0f} ms")
    return seconds


async def until_listening(tenancy: Tenancy, *, listening: bool = True) -> None:
    async def so() -> bool:
        return tenancy.registry.listening is listening

    await until(so)


@asynccontextmanager
async def heard(database: Database) -> AsyncIterator[list[str]]:
    """The payloads that a listening session is told, in their order."""
    conn = await asyncpg.connect(database.app_url)
    payloads: list[str] = []
    try:
        await conn.add_listener("tenancy_registry", lambda *args: payloads.append(args[3]))
        yield payloads
    finally:
        await conn.close()
