"""The storm: requests on one pool, cancelled, killed and hostile, with every row in the books."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from support.books import Books
from support.databases import Database, superuser
from support.hostile import HOSTILE, INSERT, LOST, ONE, RaisedError, View
from tenancy import Tenancy, TenancyError, provision
from tenancy.errors import CommitUnknownError

PAGE = "SELECT id, body FROM notes ORDER BY id DESC LIMIT 5"
SEEDED = "seed"  # what each tenant's note number 1 says, so that equal ids differ by their tenant
KILL_SECONDS = 0.05
HOSTILE_SHARE, CANCELLED_SHARE = 0.1, 0.12
HOSTILE_NAMES = tuple(HOSTILE)

# What nobody has set: each is 0 or false in a request that no other has tampered with.
_STATE = """
    SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()) AS temporary,
           (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')
               AS locks,
           (SELECT count(*) FROM pg_cursors WHERE is_holdable) AS cursors,
           (SELECT count(*) FROM pg_listening_channels()) AS channels,
           (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) AS prepared,
           current_setting('work_mem') <> '4MB' AS settings,
           current_setting('default_transaction_read_only') <> 'off' AS readonly,
           current_schema() <> $1 AS path
"""


async def settle(slugs: Iterable[str], database: Database, isolation: str) -> dict[str, str]:
    """Make the tenants *slugs*, each with its first note; return their schemas by slug."""
    settings = database.settings(isolation=isolation)
    async with provision.administrator(settings) as admin:
        await admin.grant()
        made = [(await admin.create(slug)).tenant for slug in slugs]
        for tenant in made:
            await admin._conn.execute(
                f"INSERT INTO \"{tenant.schema}\".notes (body) VALUES ('{tenant.slug}:{SEEDED}')"
            )
    return {tenant.slug: tenant.schema for tenant in made}


@dataclass
class Storm:
    """Requests of many tenants on the pool of *tenancy*.

    The plan of each request follows from the seed and its number; who meets whom does not.

    Attributes:
        schemas: of the tenants, by slug; the first ones are the busiest.
        label: tells its rows from those of another storm on the same tenants.
        counts: requests, cancelled, killed, rows read, crossed ones, state of others that was seen.
        surprises: errors that no request should end with.
    """

    tenancy: Tenancy
    schemas: dict[str, str]
    seed: int
    requests: int
    label: str
    books: Books
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    _left: "list[asyncio.Task[None]]" = field(default_factory=list)
    _next: int = 0

    async def run(self, database: Database, width: int) -> None:
        """Serve all requests, *width* of them at once, while back ends are killed."""
        killing = asyncio.create_task(self._kill(database))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(width):
                    group.create_task(self._client())
        finally:
            killing.cancel()
            with suppress(asyncio.CancelledError):
                await killing
        await asyncio.gather(*self._left)

    async def _kill(self, database: Database) -> None:
        async with superuser(database.superuser_url) as conn:
            while True:
                await asyncio.sleep(KILL_SECONDS)
                if await conn.fetchval(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 "
                    "AND application_name = 'tenancy' ORDER BY random() LIMIT 1",
                    database.name,
                ):
                    self.counts["killed"] += 1

    async def _client(self) -> None:
        slugs = tuple(self.schemas)
        while self._next < self.requests:
            number, self._next = self._next, self._next + 1
            rng = random.Random(self.seed * 1_000_003 + number)
            slug = slugs[int(len(slugs) * rng.random() ** 3)]
            self.counts["requests"] += 1
            request = _Request(self, slug, number, rng)
            if rng.random() < CANCELLED_SHARE:
                await self._cancelled(request, rng)
            else:
                await request.served()

    async def _cancelled(self, request: "_Request", rng: random.Random) -> None:
        task = asyncio.create_task(request.served())
        if rng.random() < 0.5:
            await asyncio.sleep(rng.random() * 0.015)
        else:
            for _ in range(rng.randrange(60)):
                await asyncio.sleep(0)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            task.cancel()
            await asyncio.sleep(0)
        with suppress(asyncio.CancelledError):
            await task


async def audit(books: Books, schemas: dict[str, str], database: Database) -> dict[str, int]:
    """Return how the rows of all tenants differ from *books*, those in a wrong place too.

    Prints some of those that should not be there.
    """
    found: list[str] = []
    misplaced = 0
    async with superuser(database.superuser_url) as conn:
        for slug, schema in schemas.items():
            bodies = [row[0] for row in await conn.fetch(f'SELECT body FROM "{schema}".notes')]
            bodies.remove(f"{slug}:{SEEDED}")
            misplaced += sum(not body.startswith(f"{slug}:") for body in bodies)
            found += bodies
        misplaced += await conn.fetchval(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relname = 'notes' AND n.nspname NOT LIKE 't\\_%'"
        )
    print(*books.suspects(found), sep="\n", end="")
    return {**books.audit(found), "misplaced": misplaced}


async def slots_lost(tenancy: Tenancy, *slugs: str) -> int:
    """Return how many of the pool's slots *slugs*, each of whom has a share, cannot all use."""
    size = tenancy.settings.pool_max_size
    inside = 0
    everybody = asyncio.Event()

    async def hold(slug: str) -> None:
        nonlocal inside
        async with tenancy.transaction(slug, readonly=True) as conn:
            await conn.fetchval("SELECT 1")
            inside += 1
            if inside == size:
                everybody.set()
            await asyncio.wait_for(everybody.wait(), 20)

    await asyncio.gather(
        *(hold(slugs[n % len(slugs)]) for n in range(size)), return_exceptions=True
    )
    return size - inside


async def orphans(database: Database, at_most: int) -> int:
    """Return how many back ends of the pool are not idle, or are too many, once all is quiet."""
    async with superuser(database.superuser_url) as conn:
        for _ in range(100):
            states: Sequence[Any] = await conn.fetch(
                "SELECT state FROM pg_stat_activity "
                "WHERE datname = $1 AND application_name = 'tenancy'",
                database.name,
            )
            busy = sum(row["state"] != "idle" for row in states)
            if not busy and len(states) <= at_most:
                return 0
            await asyncio.sleep(0.1)
    return int(max(busy, len(states) - at_most))


class _Request:
    """One request: it reads or writes as its tenant, and may be hostile."""

    def __init__(self, storm: Storm, slug: str, number: int, rng: random.Random) -> None:
        self.storm = storm
        self.slug = slug
        self.number = number
        self.rng = rng
        self.written: list[str] = []
        self.kind = rng.choice(HOSTILE_NAMES) if rng.random() < HOSTILE_SHARE else None

    async def served(self) -> None:
        """Serve it, and enter in the books what it was told."""
        books = self.storm.books
        try:
            async with self.storm.tenancy.transaction(self.slug) as conn:
                await self._view(conn)
        except CommitUnknownError:
            books.uncertain.update(self.written)
        except asyncio.CancelledError as error:
            self.storm.counts["cancelled"] += 1
            self._failed(error)
            raise
        except (TenancyError, RaisedError, *LOST) as error:
            self._failed(error)
        except Exception as error:
            self.storm.surprises.append(f"{self.kind}: {error!r}")
            self._failed(error)
        else:
            books.acknowledged.update(self.written)

    def _failed(self, error: BaseException) -> None:
        kind = HOSTILE[self.kind] if self.kind is not None else None
        alone = (kind is not None and kind.commits, kind is not None and kind.commits_second)
        for body, saved_alone in zip(self.written, alone, strict=False):
            if saved_alone:
                self.storm.books.uncertain.add(body)
            else:
                self.storm.books.failed[body] = f"{self.kind}: {error!r}"

    async def _view(self, conn: Any) -> None:
        if self.kind is not None:
            await self._hostile(conn, self.kind)
            return
        chance = self.rng.random()
        if chance < 0.5:
            await self._write(conn)
        if chance > 0.3:
            await self._read(conn)
        if chance > 0.95:
            await self._probe(conn)

    async def _hostile(self, conn: Any, name: str) -> None:
        self.storm.kinds[name] += 1
        await self._write(conn)
        await HOSTILE[name].act(View(conn, self._see, self._nest, self.storm._left))
        if self.rng.random() < 0.3:
            await self._write(conn)

    async def _write(self, conn: Any) -> None:
        body = f"{self.slug}:{self.storm.label}-{self.number}{'+' * len(self.written)}"
        self.written.append(body)
        await conn.execute(INSERT, body)

    async def _read(self, conn: Any) -> None:
        rows = await conn.fetch(ONE, 1)
        if [tuple(row) for row in rows] != [(1, f"{self.slug}:{SEEDED}")]:
            self.storm.counts["crossed"] += 1
        if self.rng.random() < 0.3:
            rows += await conn.fetch(PAGE)
        for row in rows:
            self._see(row)

    async def _probe(self, conn: Any) -> None:
        state = dict(await conn.fetchrow(_STATE, self.storm.schemas[self.slug]))
        for name, value in state.items():
            if value:
                self.storm.counts["state of others seen"] += 1
                self.storm.surprises.append(f"{name} of another request: {value}")

    def _see(self, row: Any) -> None:
        self.storm.counts["rows read"] += 1
        if not row["body"].startswith(f"{self.slug}:"):
            self.storm.counts["crossed"] += 1

    async def _nest(self) -> None:
        async with self.storm.tenancy.transaction(self.slug):
            raise AssertionError("a second transaction in one task")
