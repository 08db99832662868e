"""HTTP and ABORT: hypercorn under clients that hang up, dying back ends, and kill -9, in books.

Short form: 5,000 requests and 400 aborted ones. Long form (--long): 300,000, and 20 times 400.
"""

import asyncio
import random
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from support.books import told
from support.clients import Writers, all_is_quiet, bodies, kill_back_ends
from support.databases import Database
from support.processes import Served, environment, hypercorn

pytestmark = pytest.mark.timeout(6 * 3600)

SLUGS = ("acme", "globex")
CLIENTS = 24
SUPPORT = str(Path(__file__).parents[1])


def _demo(database: Database, workers: int) -> AbstractAsyncContextManager[Served]:
    settings = database.settings(pool_max_size=5, pool_acquire_timeout_seconds=20.0)
    return hypercorn(
        *("--workers", str(workers)), "tenancy.demo:create_app()", env=environment(settings)
    )


async def _requests(server: Served, writers: Writers, numbers: list[int], seed: int) -> None:
    async def client() -> None:
        while numbers:
            number = numbers.pop()
            rng = random.Random(seed * 1_000_003 + number)
            slug = rng.choice(SLUGS)
            chance = rng.random()
            if chance < 0.5:
                await writers.write(server.port, f"{slug}:{number}")
            elif chance < 0.65:
                await writers.hang_up(server.port, f"{slug}:{number}", rng.random() * 0.03)
            else:
                await writers.read(server.port, slug)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def test_two_workers_under_fire_keep_the_books(
    database: Database, seed: int, long: bool
) -> None:
    writers = Writers()
    killing = asyncio.create_task(kill_back_ends(database, 0.05, writers.seen))
    rounds = 20 if long else 2  # each ends with kill -9 of the master and its workers
    for round_ in range(rounds):
        first = round_ * 1_000_000
        numbers = list(range(first, first + (300_000 if long else 5_000) // rounds))
        async with _demo(database, workers=2) as server:
            serving = asyncio.create_task(_requests(server, writers, numbers, seed))
            while len(numbers) > 200:  # noqa: ASYNC110 - a look, not a signal
                await asyncio.sleep(0.02)
            server.kill()
            await serving
    killing.cancel()
    with suppress(asyncio.CancelledError):
        await killing
    async with _demo(database, workers=2) as server:
        for slug in SLUGS:
            assert await writers.write(server.port, f"{slug}:last") == 201
        assert await all_is_quiet(database, server)
    rows = await bodies(database, *SLUGS)
    differs = writers.books.audit(rows)
    told("HTTP", {**writers.seen, **writers.books.sums(), **differs, "seed": seed})
    assert set(differs.values()) == {0}, writers.books.suspects(rows)
    assert writers.seen["crossed"] == 0
    assert set(writers.seen) <= {
        *("POST 201", "POST 503", "POST 0", "GET 200", "GET 503", "GET 0"),
        *("hung up", "killed", "rows read", "crossed"),
    }
    assert all(writers.seen[name] for name in ("POST 201", "hung up", "killed", "rows read"))


def _slow(database: Database) -> AbstractAsyncContextManager[Served]:
    settings = database.settings(pool_max_size=3, pool_acquire_timeout_seconds=20.0)
    env = environment(settings, PYTHONPATH=SUPPORT)
    return hypercorn("support.shutdown_app:create()", env=env)


async def test_aborted_requests_cost_no_slot(database: Database, seed: int, long: bool) -> None:
    writers = Writers()
    rng = random.Random(seed)
    async with _slow(database) as server:
        for round_ in range(20 if long else 1):
            numbers = list(range(400))

            async def client(round_: int = round_, numbers: list[int] = numbers) -> None:
                while numbers:
                    body = f"acme:{round_}-{numbers.pop()}"
                    await writers.hang_up(server.port, body, rng.random() * 0.03, "/slow")

            await asyncio.gather(*(client() for _ in range(6)))
            assert await all_is_quiet(database, server)
            assert await writers.write(server.port, f"acme:{round_}", "/slow", seconds=0) == 201
    assert set(writers.books.audit(await bodies(database, "acme")).values()) == {0}


async def test_streams_reset_at_once_cost_no_slot(
    database: Database, seed: int, long: bool
) -> None:
    """HTTP/2 rapid reset (CVE-2023-44487), and then an innocent follower."""
    writers = Writers()
    rng = random.Random(seed)
    async with _slow(database) as server:
        for round_ in range(20 if long else 1):
            for connection in range(4):
                await _reset_streams(server.port, f"acme:{round_}-{connection}", rng, writers)
            assert await all_is_quiet(database, server)
            assert await writers.write(server.port, f"acme:{round_}", "/slow", seconds=0) == 201
    rows = await bodies(database, "acme")
    told("reset", {**writers.seen, "saved": len(rows)})
    assert set(writers.books.audit(rows).values()) == {0}


async def _reset_streams(port: int, name: str, rng: random.Random, writers: Writers) -> None:
    """Open a hundred streams on one connection, with a body each, and reset each soon."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    try:
        for number in range(100):
            body = f"{name}-{number}"
            writers.books.uncertain.add(body)
            content = f'{{"body": "{body}", "seconds": 0.01}}'.encode()
            stream = client.get_next_available_stream_id()
            client.send_headers(stream, [
                (":method", "POST"), (":path", "/slow"), (":scheme", "http"),
                (":authority", "acme.example.com"), ("content-type", "application/json"),
                ("content-length", str(len(content))),
            ])  # fmt: skip
            client.send_data(stream, content, end_stream=True)
            writer.write(client.data_to_send())
            if rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 0.01)
            client.reset_stream(stream)
            writer.write(client.data_to_send())
            await writer.drain()
        events = client.receive_data(await reader.read(65536))
        assert any(isinstance(event, h2.events.RemoteSettingsChanged) for event in events), events
    except (OSError, h2.exceptions.ProtocolError):
        writers.seen["ended"] += 1  # a server may end such a connection
    finally:
        writer.transport.abort()
