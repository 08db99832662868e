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


async def test_shutdown_at_random_moments_keeps_the_books(database: Database, long: bool) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for round_ in range(60 if long else 4):
        answers: dict[str, tuple[int, Any]] = {}

        async def write(
            port: int, body: str, seconds: float, answers: dict[str, tuple[int, Any]] = answers
        ) -> None:
            answers[body] = await _post(port, "/slow", body=body, seconds=seconds)

        async with _hypercorn(database, graceful_timeout=1) as server:
            writers = [
                asyncio.create_task(write(server.port, f"{round_}-{n}", 2.5 * rng.random()))
                for n in range(20)
            ]
            await asyncio.sleep(rng.random())
            server.signal(rng.choice([signal.SIGTERM, signal.SIGINT]))
            await asyncio.gather(*writers)
            await server.ended()
        saved = await _bodies(database)
        for body, (status, problem) in answers.items():
            unknown = status == 0 or (status == 503 and problem["code"] == "commit_unknown")
            if not unknown:
                assert (status == 201) is (body in saved), (body, status, problem)


def _hypercorn(database: Database, graceful_timeout: int) -> AbstractAsyncContextManager[Served]:
    return hypercorn(
        "--graceful-timeout",
        str(graceful_timeout),
        "support.shutdown_app:create()",
        env=environment(database.settings(), PYTHONPATH=SUPPORT),
    )
