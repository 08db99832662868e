"""CRASH, of G9: kill -9 of the database server under writers; the rows, and the way back.

Short form: once. Long form (--long): twenty times.
"""

import asyncio
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.books import Books, told
from support.databases import make_database, make_logins
from support.notes import read, write

from tenancy import Tenancy, TenancyError, embedded, migrate, provision
from tenancy.errors import CommitUnknownError

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        "TENANCY_TEST_DATABASE_URL" in os.environ,
        reason="it kills its server, and yours is not ours to kill",
    ),
]

WRITERS = 8
PATIENCE_SECONDS = 20  # for what is promised within two: the time is printed


async def _write(tenancy: Tenancy, books: Books, writer: int, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        body = f"{writer}-{number}"
        try:
            await write(tenancy, "acme", body)
        except CommitUnknownError:
            books.uncertain.add(body)
        except (TenancyError, OSError) as error:
            books.failed[body] = repr(error)
            await asyncio.sleep(0.01)
        else:
            books.acknowledged.add(body)


def _crash(data_dir: Path) -> None:
    """End the server and all of its processes at once, as a power cut would."""
    postmaster = psutil.Process(int((data_dir / "data/postmaster.pid").read_text().split()[0]))
    for process in (postmaster, *postmaster.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


async def test_acknowledged_rows_survive_a_crash_and_service_comes_back_by_itself(
    scratch: Path, long: bool
) -> None:
    data_dir = scratch / "crash"
    options = {"max_connections": "50"}
    server = await asyncio.to_thread(embedded.start, data_dir, options=options)
    try:
        url = server.url("postgres", "postgres")
        logins = await make_logins(url)
        database = await make_database(url, logins)
        settings = database.settings(require_durability=True, pool_max_size=4)
        (await migrate.migrate(settings)).raise_for_failures()
        async with provision.administrator(settings) as admin:
            await admin.create("acme")
        books = Books()
        waits = []
        async with Tenancy(settings=settings) as tenancy:
            stop = asyncio.Event()
            writers = [
                asyncio.create_task(_write(tenancy, books, number, stop))
                for number in range(WRITERS)
            ]
            for _ in range(20 if long else 1):
                await asyncio.sleep(0.5)
                _crash(data_dir)
                await asyncio.to_thread(server.stop)
                server = await asyncio.to_thread(embedded.start, data_dir, options=options)
                waits.append(await _back_in_service(books))
            stop.set()
            await asyncio.gather(*writers)
            rows = await read(tenancy, "acme")
        differs = books.audit(rows)
        told("crash", {**books.sums(), **differs, "back after at most s": round(max(waits), 2)})
        assert set(differs.values()) == {0}, books.suspects(rows)
        assert books.acknowledged
        assert len(books.failed) + len(books.uncertain)
    finally:
        await asyncio.to_thread(server.stop)
        shutil.rmtree(data_dir, ignore_errors=True)


async def _back_in_service(books: Books) -> float:
    """Return the seconds until a row is acknowledged again."""
    began, before = time.monotonic(), len(books.acknowledged)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(books.acknowledged) == before:  # noqa: ASYNC110 - a look, not a signal
            await asyncio.sleep(0.01)
    return time.monotonic() - began
