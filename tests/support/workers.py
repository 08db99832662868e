"""Workers of a hypercorn, each asked on a connection of its own, and how soon it has heard."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.changes import SEEN_SECONDS, until
from support.databases import Database
from support.processes import Served, environment, hypercorn

SUPPORT = str(Path(__file__).parents[1])
NEVER = {"registry_ttl_seconds": 3600, "registry_negative_ttl_seconds": 3600}
WORKERS = 2


@dataclass
class Worker:
    """A connection that is kept open, and so stays with one worker."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def get(self, host: str) -> tuple[int, dict[str, str], Any]:
        return await self.ask(host)

    async def ask(
        self, host: str, path: str = "/worker", method: str = "GET", body: object = None
    ) -> tuple[int, dict[str, str], Any]:
        content = b"" if body is None else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if content else ""
        length = f"Content-Length: {len(content)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{kind}{length}\r\n"
        self.writer.write(head.encode() + content)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        lines = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        answer = await self.reader.readexactly(int(lines["content-length"]))
        return int(head.split(" ", 2)[1]), lines, json.loads(answer)

    async def until_status(self, host: str, status: int, *request: Any) -> float:
        begun = time.perf_counter()
        async with asyncio.timeout(SEEN_SECONDS):
            while (await self.ask(host, *request))[0] != status:  # noqa: ASYNC110 - the server sets no event
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
async def served(database: Database, **more: object) -> AsyncIterator[list[Worker]]:
    """Serve by two workers that believe their memory for an hour; one connection to each."""
    env = environment(database.settings(**NEVER, **more), PYTHONPATH=SUPPORT)
    config = ("--config", "python:support.patient")
    arguments = (*config, "support.registry_app:create()", "--workers", str(WORKERS))
    async with hypercorn(*arguments, env=env) as server, _workers(server) as workers:
        yield workers


async def seen(workers: list[Worker], host: str, status: int, what: str, *request: Any) -> float:
    """Wait until every worker answers with *status*; print how long that took, and return it."""
    seconds = await asyncio.gather(
        *(worker.until_status(host, status, *request) for worker in workers)
    )
    print(f"{what}: {', '.join(f'{each * 1000:.0f} ms' for each in seconds)}")
    return max(seconds)
