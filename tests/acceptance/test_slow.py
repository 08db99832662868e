"""SLOW: clients that send or read a byte a second hold no connection to the database."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress

import pytest
from support.clients import all_is_quiet
from support.databases import Database
from support.processes import Served, environment, hypercorn, request

POOL = 2
SLOW = 3 * POOL
HOST = "acme.example.com"

Slowness = Callable[[int, asyncio.Semaphore], Coroutine[None, None, None]]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def server(database: Database) -> AsyncIterator[Served]:
    env = environment(database.settings(pool_max_size=POOL, pool_acquire_timeout_seconds=3.0))
    async with hypercorn("tenancy.demo:create_app()", env=env) as server:
        for _ in range(60):
            assert (await server.post("/notes", {"body": "x" * 10_000}, HOST))[0] == 201
        yield server


async def _a_byte_a_second(port: int, started: asyncio.Semaphore) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        whole = request("POST", "/notes", HOST, {"body": "slow"})
        for at in range(len(whole) - 20, len(whole) - 1):  # the head at once, the body never whole
            writer.write(whole[:at] if at == len(whole) - 20 else whole[at : at + 1])
            await writer.drain()
            started.release()
            await asyncio.sleep(1)
    finally:
        writer.transport.abort()


async def _reads_nothing(port: int, started: asyncio.Semaphore) -> None:
    """Ask for 600 kB, with a window of a few, and never read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)  # noqa: FBT003 - its own signature
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, request("GET", "/notes?limit=100", HOST))
        started.release()
        await asyncio.Event().wait()
    finally:
        client.close()


@pytest.mark.parametrize("slowness", [_a_byte_a_second, _reads_nothing])
async def test_slow_clients_hold_no_connection_to_the_database(
    server: Served,
    database: Database,
    slowness: Slowness,
) -> None:
    started = asyncio.Semaphore(0)
    slow = [asyncio.create_task(slowness(server.port, started)) for _ in range(SLOW)]
    try:
        for _ in slow:
            await started.acquire()
        answers = await asyncio.gather(
            *(server.get("/notes?limit=1", HOST) for _ in range(20)),
            *(server.post("/notes", {"body": "quick"}, HOST) for _ in range(20)),
        )
        assert [status for status, _ in answers] == [200] * 20 + [201] * 20
        assert await all_is_quiet(database, server)
        assert not any(task.done() for task in slow)
    finally:
        for task in slow:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*slow)
