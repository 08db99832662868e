"""G7, G8 over HTTP: a client that hangs up, and a server that is told to stop."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.books import told
from support.clients import Writers, bodies
from support.databases import Database
from support.processes import Served, environment, http, hypercorn, request, served

pytestmark = pytest.mark.timeout(180)
HOST = "acme.example.com"
SUPPORT = str(Path(__file__).parents[1])


async def _bodies(database: Database) -> set[str]:
    conn = await asyncpg.connect(database.admin_url)
    try:
        schema = await conn.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = 'acme'")
        return {row["body"] for row in await conn.fetch(f'SELECT body FROM "{schema}".notes')}
    finally:
        await conn.close()


@pytest.fixture
async def server(database: Database) -> AsyncIterator[Served]:
    async with _serve(database) as server:
        yield server


def _serve(database: Database, *arguments: str) -> AbstractAsyncContextManager[Served]:
    env = environment(database.settings(), PYTHONPATH=SUPPORT)
    return served("support.shutdown_app:create()", *arguments, env=env)


async def _post(port: int, path: str, **body: object) -> tuple[int, Any]:
    try:
        return await http(port, "POST", path, HOST, body)
    except (OSError, asyncio.IncompleteReadError):
        return 0, None  # no answer: the client knows that it does not know


async def test_a_client_that_hangs_up_leaves_no_row(server: Served, database: Database) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request("POST", "/slow", HOST, {"body": "hung up", "seconds": 0.5}))
    await asyncio.sleep(0.2)
    writer.transport.abort()
    await asyncio.sleep(0.8)
    del reader
    assert await _bodies(database) == set()
    assert await _post(server.port, "/slow", body="after", seconds=0) == (201, b"saved")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_requests_in_flight_at_sigterm_are_finished(database: Database, workers: str) -> None:
    async with _serve(database, "--workers", workers) as server:
        flying = [
            asyncio.create_task(_post(server.port, "/slow", body=str(n), seconds=1.0))
            for n in range(3)
        ]
        await asyncio.sleep(0.4)
        server.signal(signal.SIGTERM)
        assert [status for status, _ in await asyncio.gather(*flying)] == [201] * 3
        assert await server.ended() == 0
    assert await _bodies(database) == {"0", "1", "2"}


@pytest.mark.skipif(
    sys.version_info >= (3, 12),
    reason="from 3.12 on asyncio's Server.wait_closed makes hypercorn wait, and nothing is refused",
)
async def test_a_request_refused_at_shutdown_commits_nothing(database: Database) -> None:
    """It outlasts the grace: cancelled, answered 503, and not in the database."""
    async with _hypercorn(database, graceful_timeout=1) as server:
        slow = asyncio.create_task(_post(server.port, "/slow", body="refused", seconds=4))
        stubborn = asyncio.create_task(_post(server.port, "/stubborn", body="kept", seconds=4))
        await asyncio.sleep(0.4)
        server.signal(signal.SIGTERM)
        status, problem = await slow
        assert (status, problem["code"]) == (503, "shutting_down")
        status, problem = await stubborn
        assert (status, problem["code"]) == (503, "commit_unknown")
        await server.ended()
        await asyncio.sleep(4)
    assert await _bodies(database) == {"kept"}


async def test_shutdown_at_random_moments_keeps_the_books(
    database: Database, long: bool, seed: int
) -> None:
    rng = random.Random(seed)
    writers = Writers()
    for round_ in range(60 if long else 5):
        async with _hypercorn(database, graceful_timeout=1) as server:
            flying = [
                asyncio.create_task(
                    writers.write(
                        server.port, f"acme:{round_}-{n}", "/slow", seconds=2.5 * rng.random()
                    )
                )
                for n in range(20)
            ]
            await asyncio.sleep(rng.random())
            server.signal(rng.choice([signal.SIGTERM, signal.SIGINT]))
            await asyncio.gather(*flying)
            await server.ended()
    await _keeps_the_books(writers, database)


async def test_a_graceful_shutdown_loses_no_request(
    database: Database, long: bool, seed: int
) -> None:
    """Whatever was saved was answered: no connection is dropped with its work done."""
    rng = random.Random(seed)
    writers = Writers()
    for round_ in range(20 if long else 1):
        async with _hypercorn(database, graceful_timeout=20, workers=2) as server:
            stopping = asyncio.Event()
            clients = [
                asyncio.create_task(_until(stopping, writers, server.port, f"{round_}-{number}"))
                for number in range(20)
            ]
            await asyncio.sleep(0.5 + rng.random())
            server.signal(signal.SIGTERM)
            await asyncio.sleep(1)
            stopping.set()
            await asyncio.gather(*clients)
            assert await server.ended() == 0
    await _keeps_the_books(writers, database)
    assert set(writers.seen) <= {"POST 201", "POST 0"}
    assert writers.books.acknowledged == set(await bodies(database, "acme"))


async def _until(stopping: asyncio.Event, writers: Writers, port: int, name: str) -> None:
    turn = 0
    while not stopping.is_set():
        turn += 1
        body = f"acme:{name}-{turn}"
        seconds = 0.2 * random.Random(body).random()
        if not await writers.write(port, body, "/slow", seconds=seconds):
            return  # refused: nobody listens any more


async def _keeps_the_books(writers: Writers, database: Database) -> None:
    rows = await bodies(database, "acme")
    differs = writers.books.audit(rows)
    told("shutdown", {**writers.seen, **writers.books.sums(), **differs})
    assert set(differs.values()) == {0}, writers.books.suspects(rows)
    assert writers.books.acknowledged


def _hypercorn(
    database: Database, graceful_timeout: int, workers: int = 1
) -> AbstractAsyncContextManager[Served]:
    return hypercorn(
        *("--graceful-timeout", str(graceful_timeout), "--workers", str(workers)),
        "support.shutdown_app:create()",
        env=environment(database.settings(), PYTHONPATH=SUPPORT),
    )
