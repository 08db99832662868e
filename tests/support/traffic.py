"""Requests at a steady rate to the demo, whatever its answers do; and what came of each."""

import asyncio
import json
import random
import statistics
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from support.books import Books

CONNECTIONS = 64
BROKEN = (OSError, asyncio.IncompleteReadError)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Answers:
    """What the requests of one span were answered, and how soon.

    Attributes:
        statuses: 0: no answer came.
        latencies: seconds, from the moment at which the request was due.
        failed: what those were told that were not served.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Milliseconds within which this *share* of the requests was answered."""
        return statistics.quantiles(self.latencies, n=1000)[round(share * 1000) - 1] * 1000


class Traffic:
    """Reads, pages, writes and edits of many tenants on keep-alive connections.

    Attributes:
        answers: of the current span; `begin` starts the next one.
        books: the notes, by the body of each.
    """

    def __init__(self, port: int, slugs: Sequence[str], per_second: float, seed: int) -> None:
        self.port = port
        self.slugs = slugs
        self.per_second = per_second
        self.answers = Answers()
        self.books = Books()
        self._rng = random.Random(seed)
        self._idle: deque[Connection] = deque()
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._stop = asyncio.Event()
        self._number = 0

    def begin(self) -> Answers:
        """Begin a new span; return its answers, which grow."""
        self.answers = Answers()
        return self.answers

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        """Send until `stop`; then wait for the answers that are still to come."""
        begun, sent = time.perf_counter(), 0
        async with asyncio.TaskGroup() as group:
            while not self._stop.is_set():
                while sent < (time.perf_counter() - begun) * self.per_second:
                    due = begun + sent / self.per_second
                    group.create_task(self._request(due, self.answers))
                    sent += 1
                await asyncio.sleep(0.002)
        for _, writer in self._idle:
            writer.close()

    async def _request(self, due: float, answers: Answers) -> None:
        slug = self._rng.choice(self.slugs)
        self._number += 1
        body = f"{slug}:{self._number}"
        chance = self._rng.random()
        async with self._free:
            if chance < 0.4:
                status = await self._asked("GET", "/notes?limit=5", slug, answers)
            elif chance < 0.6:
                status = await self._asked("GET", "/notes/1", slug, answers)
            elif chance < 0.7:
                status = await self._asked("PUT", "/notes/1", slug, answers, f"{slug}: edited")
            else:
                status = await self._asked("POST", "/notes", slug, answers, body)
                self._enter(body, status)
        answers.statuses[status] += 1
        answers.latencies.append(time.perf_counter() - due)

    def _enter(self, body: str, status: int) -> None:
        if status == 201:
            self.books.acknowledged.add(body)
        elif status == 0:
            self.books.uncertain.add(body)
        else:
            self.books.failed[body] = str(status)

    async def _asked(
        self, method: str, path: str, slug: str, answers: Answers, body: str | None = None
    ) -> int:
        content = b"" if body is None else json.dumps({"body": body}).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {slug}.example.com\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        try:
            connection = await self._connection()
        except OSError as error:
            answers.failed.append(f"{method} {path}: {error!r}")
            return 0
        try:
            async with asyncio.timeout(60):
                status, answer, stays = await _exchange(connection, head.encode() + content)
        except (*BROKEN, TimeoutError) as error:
            answers.failed.append(f"{method} {path}: {error!r}")
            connection[1].transport.abort()
            return 0
        if stays:
            self._idle.append(connection)
        else:
            connection[1].close()
        if status not in (200, 201):
            answers.failed.append(f"{method} {path} of {slug}: {status} {answer[:300]!r}")
        return status

    async def _connection(self) -> Connection:
        with suppress(IndexError):
            return self._idle.popleft()
        return await asyncio.open_connection("127.0.0.1", self.port)


async def _exchange(connection: Connection, request: bytes) -> tuple[int, bytes, bool]:
    """Return status and body of the answer, and whether the server keeps the connection open."""
    reader, writer = connection
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length: ") + 16
    answer = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
    return int(head[9:12]), answer, b"\r\nconnection: close" not in head
