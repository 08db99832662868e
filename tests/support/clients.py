"""Clients of a server process: they write notes, hang up, dawdle, and keep books."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from support.books import Books
from support.databases import Database, superuser
from support.notes import schema_of
from support.processes import Served, http, request

BROKEN = (OSError, asyncio.IncompleteReadError)


@dataclass
class Writers:
    """What many clients were told.

    Attributes:
        books: by the body of each note, which begins with its tenant's slug.
        seen: answers by status; what was hung up on; rows read and those that were another's.
    """

    books: Books = field(default_factory=Books)
    seen: Counter[str] = field(default_factory=Counter)

    async def write(self, port: int, body: str, path: str = "/notes", **more: object) -> int:
        """Write one note; return the status, 0 where no answer came."""
        host = f"{body.partition(':')[0]}.example.com"
        try:
            status, answer = await http(port, "POST", path, host, {"body": body, **more})
        except BROKEN:
            status, answer = 0, None
        self.seen[f"POST {status}"] += 1
        if status == 201:
            self.books.acknowledged.add(body)
        elif status == 0 or (status == 503 and answer["code"] == "commit_unknown"):
            self.books.uncertain.add(body)
        else:
            self.books.failed[body] = f"{status} {answer}"
        return status

    async def hang_up(self, port: int, body: str, seconds: float, path: str = "/notes") -> None:
        """Write a note, and be gone after *seconds*, whatever has come."""
        host = f"{body.partition(':')[0]}.example.com"
        self.seen["hung up"] += 1
        self.books.uncertain.add(body)
        with suppress(*BROKEN):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("POST", path, host, {"body": body, "seconds": seconds}))
            await asyncio.sleep(seconds)
            writer.transport.abort()

    async def read(self, port: int, slug: str) -> None:
        """Read a page, and count whose rows are on it."""
        try:
            status, page = await http(port, "GET", "/notes?limit=20", f"{slug}.example.com")
        except BROKEN:
            status, page = 0, None
        self.seen[f"GET {status}"] += 1
        if status == 200:
            bodies = [note["body"] for note in page["notes"]]
            self.seen["rows read"] += len(bodies)
            self.seen["crossed"] += sum(not body.startswith(f"{slug}:") for body in bodies)


async def bodies(database: Database, *slugs: str) -> list[str]:
    """All notes of the tenants *slugs*; those of another tenant are marked as misplaced."""
    found = []
    async with superuser(database.superuser_url) as conn:
        for slug in slugs:
            for row in await conn.fetch(f'SELECT body FROM "{await schema_of(conn, slug)}".notes'):
                body = str(row["body"])
                found.append(body if body.startswith(f"{slug}:") else f"misplaced: {body}")
    return found


async def kill_back_ends(database: Database, every_seconds: float, seen: Counter[str]) -> None:
    """Terminate one of the pools' back ends again and again, until cancelled."""
    async with superuser(database.superuser_url) as conn:
        while True:
            await asyncio.sleep(every_seconds)
            if await conn.fetchval(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 "
                "AND application_name = 'tenancy' ORDER BY random() LIMIT 1",
                database.name,
            ):
                seen["killed"] += 1


async def all_is_quiet(database: Database, server: Served | None = None) -> bool:
    """Whether, within ten seconds, no back end is in a transaction and every slot is idle."""
    async with superuser(database.superuser_url) as conn:
        for _ in range(100):
            busy = await conn.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 "
                "AND application_name = 'tenancy' AND state <> 'idle'",
                database.name,
            )
            slots = True
            if server is not None:
                _, ready = await server.get("/readyz")
                slots = "pool" in ready and ready["pool"]["idle"] == ready["pool"]["size"]
                await asyncio.sleep(0.6)  # /readyz remembers its answer for half a second
            if slots and not busy:
                return True
            await asyncio.sleep(0.1)
    return False
