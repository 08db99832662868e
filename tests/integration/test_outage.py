"""A database that goes away and comes back: refused at once, and served again at once."""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.asgi import call
from support.databases import Database, Open, make_database, make_logins
from support.notes import read
from support.wire import CUT, HOLD, PASS, wire

from tenancy import Tenancy, TenancyError, embedded, migrate, provision
from tenancy.demo import create_app
from tenancy.errors import DatabaseUnavailableError
from tenancy.fairness.outage import ASK_AGAIN_SECONDS

SIZE = 10
HEADERS = [(b"host", b"acme.example.com")]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tenancy-test-"))
    path.chmod(0o755)
    yield path / "server"
    shutil.rmtree(path, ignore_errors=True)


async def _fill(tenancy: Tenancy) -> None:
    """Open all connections there may be."""
    async with asyncio.TaskGroup() as group:
        for _ in range(SIZE):
            group.create_task(_hold(tenancy))
    assert tenancy.pool.size == SIZE


async def _hold(tenancy: Tenancy) -> None:
    async with tenancy.pool.connection() as conn:
        await conn.fetchval("SELECT pg_sleep(0.2)")


@asynccontextmanager
async def _demo(database: Database, **overrides: object) -> AsyncIterator[tuple[object, Tenancy]]:
    app = create_app(database.settings(pool_max_size=SIZE, **overrides))
    async with app.test_app():
        tenancy = app.extensions["tenancy"]
        await _fill(tenancy)
        yield app, tenancy


@pytest.mark.parametrize("mode", ["fast", "crash"])
async def test_a_restarted_server_is_used_again_without_a_restart_of_ours(
    data_dir: Path, mode: str
) -> None:
    """All ten connections die at once. Times are printed, never asserted."""
    server = embedded.start(data_dir)
    url = server.url("postgres", "postgres")
    database = await make_database(url, await make_logins(url))
    settings = database.settings()
    (await migrate.migrate(settings)).raise_for_failures()
    async with provision.administrator(settings) as admin:
        await admin.create("acme")
    try:
        async with _demo(database) as (app, tenancy):
            assert (await call(app, HEADERS, "/notes")).status == 200
            if mode == "crash":
                await _crash(data_dir)
            await asyncio.to_thread(server.stop)
            waits = await _refused(app, requests=300)
            print(f"{mode}: away, the slowest of 300 answers took {max(waits) * 1000:.0f} ms")
            server = await asyncio.to_thread(embedded.start, data_dir)
            back = time.perf_counter()
            while (await call(app, HEADERS, "/notes")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            print(f"{mode}: in service {time.perf_counter() - back:.2f} s after its return")
            answers = await asyncio.gather(*(call(app, HEADERS, "/notes") for _ in range(100)))
            assert Counter(answer.status for answer in answers) == {200: 100}
            assert tenancy.pool.permits.free == SIZE
    finally:
        server.stop()


async def _crash(data_dir: Path) -> None:
    """Kill the postmaster as a machine's failure would; its children follow."""
    pid = int((data_dir / "data" / "postmaster.pid").read_text().splitlines()[0])
    (await asyncio.create_subprocess_exec("kill", "-9", str(pid)))
    await asyncio.sleep(0.1)


async def _refused(app: object, requests: int) -> list[float]:
    async def one() -> float:
        started = time.perf_counter()
        answer = await call(app, HEADERS, "/notes")
        assert answer.status == 503, answer
        assert answer.headers[b"retry-after"]
        return time.perf_counter() - started

    return await asyncio.gather(*(one() for _ in range(requests)))


async def test_ten_connections_that_died_unnoticed_fail_no_request(database: Database) -> None:
    """The first burst on each old connection is cut, as after a failover behind a firewall."""
    async with wire(database.app_url) as line:
        settings = database.settings(database_url=line.url, pool_max_size=SIZE)
        async with Tenancy(settings=settings) as tenancy:
            await tenancy.find("acme")
            await _fill(tenancy)
            failover = asyncio.get_running_loop().create_future()

            def verdict(data: bytes) -> str:
                if _opens(data) and not failover.done():
                    failover.set_result(None)  # whoever connects again reaches the new server
                return PASS if failover.done() else CUT

            line.verdict = verdict
            for _ in range(3 * SIZE):
                assert await read(tenancy, "acme") == []


def _opens(data: bytes) -> bool:
    """Whether this is the first message of a connection: version 3.0 of the protocol, no type."""
    return data[4:8] == b"\x00\x03\x00\x00"


async def test_in_a_black_hole_only_the_first_wait(database: Database) -> None:
    async with wire(database.app_url) as line:
        settings = database.settings(
            database_url=line.url,
            pool_min_size=0,  # or asyncpg connects by itself
            pool_max_size=4,
            pool_acquire_timeout_seconds=1.0,
        )
        async with Tenancy(settings=settings) as tenancy:
            await tenancy.find("acme")
            line.verdict = lambda _: HOLD
            with pytest.raises(TenancyError):
                await read(tenancy, "acme")
            assert tenancy.pool._outage.is_on
            asking = asyncio.create_task(read(tenancy, "acme"))
            await asyncio.sleep(0.01)
            started = time.perf_counter()
            for _ in range(200):
                with pytest.raises(DatabaseUnavailableError):
                    await read(tenancy, "acme")
            print(f"200 refused in {time.perf_counter() - started:.2f} s")
            assert not asking.done()
            with pytest.raises(DatabaseUnavailableError):
                await asking
            line.verdict = lambda _: PASS
            assert await read(tenancy, "acme") == []
            assert not tenancy.pool._outage.is_on


async def test_one_at_a_time_asks_whether_the_server_is_back(database: Database) -> None:
    connections = 0

    def verdict(data: bytes) -> str:
        nonlocal connections
        connections += _opens(data)
        return CUT

    async with wire(database.app_url) as line:
        settings = database.settings(database_url=line.url, pool_max_size=SIZE)
        async with Tenancy(settings=settings) as tenancy:
            await tenancy.find("acme")
            line.verdict = verdict
            with pytest.raises(TenancyError):
                await read(tenancy, "acme")
            connections = 0
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            async with asyncio.timeout(20):
                answers = await asyncio.gather(
                    *(read(tenancy, "acme") for _ in range(50)), return_exceptions=True
                )
            assert {type(answer) for answer in answers} == {DatabaseUnavailableError}
            assert connections <= 2  # asyncpg tries again without TLS


async def test_a_server_that_is_full_does_not_stop_what_is_connected(
    open_tenancy: Open,
) -> None:
    """Connections refused, those that are open served: that is no outage for them."""
    async with open_tenancy(pool_max_size=2) as tenancy:
        await read(tenancy, "acme")
        assert tenancy.pool.idle
        tenancy.pool._outage.begin(refused=True)
        assert await read(tenancy, "acme") == []
