"""Two workers of hypercorn hear of a change; with times to live of an hour only NOTIFY explains it.

The times are printed: what is promised is less than a second.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.changes import SEEN_SECONDS, execute, until
from support.databases import Database
from support.processes import Served, environment, hypercorn

from tenancy import migrate

pytestmark = pytest.mark.timeout(180)

SUPPORT = str(Path(__file__).parents[1])
NEVER = {"registry_ttl_seconds": 3600, "registry_negative_ttl_seconds": 3600}
WORKERS = 2


@dataclass
class Worker:
    """A connection that is kept open, and so stays with one worker."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def get(self, host: str) -> tuple[int, dict[str, str], Any]:
        self.writer.write(f"GET /worker HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        lines = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        body = await self.reader.readexactly(int(lines["content-length"]))
        return int(head.split(" ", 2)[1]), lines, json.loads(body)

    async def until_status(self, host: str, status: int) -> float:
        begun = time.perf_counter()
        async with asyncio.timeout(SEEN_SECONDS):
            while (await self.get(host))[0] != status:  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0.002)
        return time.perf_counter() - begun


@asynccontextmanager
async def _workers(server: Served) -> AsyncIterator[list[Worker]]:
    """One connection to each worker."""
    found: dict[int, Worker] = {}
    others: list[Worker] = []

    async def all_found() -> bool:
        worker = Worker(*await asyncio.open_connection("127.0.0.1", server.port))
        others.append(worker)
        status, _, body = await worker.get("globex.example.com")
        if status == 200:
            found.setdefault(body["worker"], worker)
        return len(found) == WORKERS

    try:
        await until(all_found)
        yield list(found.values())
    finally:
        for worker in others:
            worker.writer.close()


@asynccontextmanager
async def _served(database: Database, **more: object) -> AsyncIterator[list[Worker]]:
    env = environment(database.settings(**NEVER, **more), PYTHONPATH=SUPPORT)
    arguments = ("support.registry_app:create()", "--workers", str(WORKERS))
    async with hypercorn(*arguments, env=env) as server, _workers(server) as workers:
        yield workers


async def _all(workers: list[Worker], host: str, status: int, what: str) -> None:
    seconds = await asyncio.gather(*(worker.until_status(host, status) for worker in workers))
    print(f"{what}: {', '.join(f'{each * 1000:.0f} ms' for each in seconds)}")


async def test_every_worker_hears_of_a_change(database: Database) -> None:
    acme = "acme.example.com"
    async with _served(database) as workers:
        await _all(workers, acme, 200, "served")
        await execute(
            database, "UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'acme'"
        )
        await _all(workers, acme, 403, "suspended")
        await execute(
            database,
            "UPDATE tenancy.tenants SET state = 'active', slug = 'new' WHERE slug = 'acme'",
        )
        await _all(workers, "new.example.com", 200, "new slug")
        await _all(workers, acme, 404, "old slug")
        await execute(
            database,
            "INSERT INTO tenancy.domains (name, tenant_id, verified_at) "
            "SELECT 'new.test', id, now() FROM tenancy.tenants WHERE slug = 'new'",
        )
        await _all(workers, "new.test", 200, "domain")
        await execute(database, "DELETE FROM tenancy.domains")
        await _all(workers, "new.test", 421, "domain removed")


async def test_workers_serve_a_tenant_when_it_has_been_migrated(
    database: Database, tmp_path: Path
) -> None:
    """The version gate: 503 until the live migration has run, and no restart."""
    sql = tmp_path / "sql"
    for file in sorted((Path(__file__).parents[2] / "sql").glob("*/*.sql")):
        if file.parent.name != "catalog":
            (sql / file.parent.name).mkdir(parents=True, exist_ok=True)
            (sql / file.parent.name / file.name).write_text(file.read_text())
    newest = max(file.name[:4] for file in (sql / "tenant").iterdir())
    following = f"{int(newest) + 1:04}"
    (sql / "tenant" / f"{following}_pinned.sql").write_text("ALTER TABLE notes ADD pinned bool;")
    new = database.settings(sql_dir=sql)
    (await migrate.migrate(new, tenants=("globex",))).raise_for_failures()
    async with _served(database, versions=f">={following}") as workers:
        for worker in workers:
            status, headers, body = await worker.get("acme.example.com")
            assert (status, body["code"]) == (503, "tenant_version")
            assert int(headers["retry-after"]) > 0
            assert "acme" not in str(body)
        (await migrate.migrate(new)).raise_for_failures()
        await _all(workers, "acme.example.com", 200, "migrated")


async def test_the_listener_is_why(database: Database) -> None:
    """Without it nobody sees the change: the tests above could fail."""
    async with _served(database, registry_listen=False) as workers:
        await execute(
            database, "UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'globex'"
        )
        await asyncio.sleep(1)
        for worker in workers:
            assert (await worker.get("globex.example.com"))[0] == 200
