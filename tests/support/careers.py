"""Tenants' lives by chance: what each should be by now, and what the served application says.

The model is exact. Whoever takes a step holds the names that the step is about, and waits for the
requests that are under way to its tenant; so it knows what must come of it, and each request goes
to a tenant whose state is known. Requests to others go on all the time.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from support.books import Books
from support.processes import http, request

WORKERS = 2
SETTLE_SECONDS = 60.0  # of patience on a busy machine; what is promised is under one
STATUSES = {"active": (200, 201), "read_only": (200, 403), "suspended": (403, 403)}
GONE = (404, 404)


@dataclass(eq=False)
class Life:
    """One tenant, from its creation to its purge.

    Attributes:
        id: the registry's.
        before: the state that `restore` leads to.
        domains: the primary one first, if there is one.
        begun: whether its purge has begun.
        known: whether all workers have come to know what it is.
        under_way: requests to it.
        books: its notes, each with its id in front.
    """

    id: str
    schema: str
    slug: str
    state: str = "active"
    before: str = ""
    domains: set[str] = field(default_factory=set)
    primary: str | None = None
    begun: bool = False
    known: bool = False
    under_way: int = 0
    books: Books = field(default_factory=Books)


@dataclass
class World:
    """All tenants, by what the clients were told.

    Attributes:
        port: of the served application.
        slugs, domains: who has which now.
        ever: all tenants that there have been.
        former: slugs that redirect, and whose they were.
        audit: rows that there must be, by step and outcome.
        loose: how many more there may be, of steps whose connection was lost.
        faults: whatever was not as it had to be.
    """

    port: int
    slugs: dict[str, Life] = field(default_factory=dict)
    domains: dict[str, Life] = field(default_factory=dict)
    ever: list[Life] = field(default_factory=list)
    former: dict[str, Life] = field(default_factory=dict)
    audit: Counter[tuple[str, str]] = field(default_factory=Counter)
    loose: Counter[tuple[str, str]] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _locks: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    @asynccontextmanager
    async def holding(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Let nobody else take a step about one of *names*."""
        async with AsyncExitStack() as stack:
            for name in sorted(set(names)):  # in one order, or two would wait for each other
                await stack.enter_async_context(self._locks[name])
            yield

    async def quiet(self, life: Life) -> None:
        """Send no more requests to *life*, and wait for those under way."""
        life.known = False
        while life.under_way:  # noqa: ASYNC110 - an event for each tenant would be more
            await asyncio.sleep(0.002)

    async def settle(self, host: str) -> None:
        """Wait until all workers answer at *host* as they must."""
        workers: set[str] = set()
        found: object = None
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while len(workers) < WORKERS:
                    found, worker = await self._ask(host)
                    if found == self._due(host):
                        workers.add(worker)
                    else:
                        await asyncio.sleep(0.005)
        except TimeoutError:
            self.faults.append(f"{host} answers {found}, not {self._due(host)}")

    def _due(self, host: str) -> tuple[int, str]:
        """Return the status that *host* must answer, and whom it serves, or redirects to."""
        slug = host.removesuffix(".example.com")
        life = self.domains.get(host) if slug == host else self.slugs.get(slug)
        if life is not None:
            status = STATUSES.get(life.state, GONE)[0]
            return status, life.id if status == 200 else ""
        former = self.former.get(slug)
        if former is not None and former.state in STATUSES:
            return 308, f"{former.slug}.example.com"
        return (421 if slug == host else 404), ""

    async def _ask(self, host: str) -> tuple[tuple[int, str], str]:
        """Ask who is served at *host*: the answer, and which worker gave it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request("GET", "/whoami", host, None))
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        finally:
            writer.close()
        lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
        status, words = int(head.split(" ", 2)[1]), ""
        if status == 200:
            words = body.partition('"id":"')[2].partition('"')[0]
        elif status == 308:
            words = lines["location"].split("/")[2].partition(":")[0]
        return (status, words), lines["x-worker"]


class Visitors:
    """Requests to tenants that nobody is taking a step about; each must be answered right."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = random.Random(seed)
        self._stop = asyncio.Event()
        self._number = 0

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        while not self._stop.is_set():
            known = [life for life in self._world.slugs.values() if life.known]
            if known:
                await self._visit(self._rng.choice(known))
            await asyncio.sleep(0.01)

    async def _visit(self, life: Life) -> None:
        hosts = [f"{life.slug}.example.com"] * 2
        if life.state != "deleting":
            hosts += sorted(life.domains)
        host = self._rng.choice(hosts)
        life.under_way += 1
        try:
            if self._rng.random() < 0.5:
                await self._read(life, host)
            else:
                await self._write(life, host)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._world.faults.append(f"no answer at {host}: {error!r}")
        finally:
            life.under_way -= 1

    async def _read(self, life: Life, host: str) -> None:
        status, page = await http(self._world.port, "GET", "/notes?limit=20", host)
        self._expect(life, host, status, STATUSES.get(life.state, GONE)[0], page)
        if status == 200 and any(not n["body"].startswith(life.id) for n in page["notes"]):
            self._world.faults.append(f"at {host} a note of somebody else's")

    async def _write(self, life: Life, host: str) -> None:
        self._number += 1
        body = f"{life.id}:{id(self)}:{self._number}"
        due = STATUSES.get(life.state, GONE)[1]
        status, answer = await http(self._world.port, "POST", "/notes", host, {"body": body})
        self._expect(life, host, status, due, answer)
        if status == 201:
            life.books.acknowledged.add(body)
        else:
            life.books.failed[body] = str(status)

    def _expect(self, life: Life, host: str, status: int, due: int, answer: object) -> None:
        self._world.counts[f"{life.state}: {status}"] += 1
        if status != due:
            self._world.faults.append(f"{life.state} at {host}: {status} {answer!r}, not {due}")
