"""A runner and its back ends, killed at moments that follow from a seed; and what is left then."""

import asyncio
import json
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg

from support import evidence
from support.books import Books
from support.databases import Database, superuser
from support.fleets import Fleet
from support.ordeal import Ordeal

SESSIONS = "application_name LIKE 'tenancy migrate%' AND datname = current_database()"
QUIET_SECONDS = 30.0
GONE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

_APPLIED = "SELECT count(*) FROM tenancy.migrations WHERE stage = 'tenant'"
# At a statement of a file that is no single transaction.
_OUTSIDE = (
    f"{SESSIONS} AND state = 'active' "
    "AND query ~ '^(CREATE (UNIQUE )?INDEX CONC|VACUUM|INSERT.*sleep)'"
)
_WAITING = f"{_OUTSIDE} AND wait_event_type = 'Lock'"
_IN_A_BACKFILL = "SELECT EXISTS (SELECT FROM tenancy.backfills WHERE finished_at IS NULL)"


@dataclass
class Chaos:
    """One database with tenants that go through an ordeal.

    Attributes:
        books: what the runners said they had applied, as ``schema:version``.
        counts: what was killed, and how the runners ended.
    """

    fleet: Fleet
    database: Database
    ordeal: Ordeal
    tenants: int
    rng: random.Random
    books: Books = field(default_factory=Books)
    counts: Counter[str] = field(default_factory=Counter)
    crashes: bool = False

    # Runners

    async def start(self, *options: str) -> "asyncio.Task[str]":
        """Start a runner; the task is its end, and what it has said of tenants."""
        process = await self.fleet.start("up", "--json", "--parallel", "4", *options)
        self.process = process

        async def end() -> str:
            out, err = await process.communicate()
            self.counts[f"exit {process.returncode}"] += 1
            assert process.returncode != 1, err.decode()
            assert b"Traceback" not in err, err.decode()
            self._heard(out.decode())
            return err.decode()

        return asyncio.create_task(end())

    def _heard(self, out: str) -> None:
        for line in out.splitlines():
            with suppress(ValueError):  # cut off by kill -9
                told = json.loads(line)
                if told.get("stage") == "tenant":
                    for version in told.get("applied") or ():
                        self._applied(f"{told['schema']}:{version}")

    def _applied(self, what: str) -> None:
        self.counts["told twice"] += what in self.books.acknowledged
        self.books.acknowledged.add(what)

    # Strikes

    async def life(self) -> None:
        """Let a runner work, strike it and its back ends, and wait until all is quiet."""
        running = await self.start()
        if self.rng.random() < 0.5:
            await self._strike_a_build(running)
        for _ in range(self.rng.randrange(3)):
            await self._moment(running)
            if not running.done():
                await self._strike_a_back_end()
        await self._moment(running)
        if not running.done():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
                self.counts["runners killed"] += 1
        await running
        await self.quiet()

    async def _moment(self, running: "asyncio.Task[str]") -> None:
        """Wait for the next moment to strike at, and then some milliseconds."""
        with suppress(*GONE):
            async with superuser(self.database.superuser_url) as conn:
                done = await conn.fetchval(_APPLIED)
                left = self.tenants * len(self.ordeal.files) - done
                wanted = done + int(left * self.rng.random() * 0.6)
                after_files = f"SELECT ({_APPLIED}) >= {wanted}"
                in_a_step = f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {_OUTSIDE})"
                when = self.rng.choice((after_files, after_files, in_a_step, _IN_A_BACKFILL))
                await _until(conn, when, running)
        await asyncio.wait([running], timeout=self.rng.random() ** 2 * 0.03)

    async def _strike_a_build(self, running: "asyncio.Task[str]") -> None:
        """End a back end that builds an index, while that waits for somebody's old snapshot."""
        with suppress(*GONE):
            async with superuser(self.database.superuser_url) as conn:
                async with conn.transaction(isolation="repeatable_read"):
                    await conn.fetchval("SELECT 1")
                    async with superuser(self.database.superuser_url) as other:
                        waiting = f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {_WAITING})"
                        await _until(other, waiting, running)
                        await self._strike(other, _WAITING)

    async def _strike_a_back_end(self) -> None:
        with suppress(*GONE):
            async with superuser(self.database.superuser_url) as conn:
                await self._strike(conn, _OUTSIDE) or await self._strike(conn, SESSIONS)

    async def _strike(self, conn: asyncpg.Connection, whom: str) -> bool:
        rows = await conn.fetch(
            f"SELECT pid FROM pg_stat_activity WHERE {whom} ORDER BY backend_start"
        )
        if not rows:
            return False
        pid = self.rng.choice(rows)["pid"]
        fatal = self.crashes and self.rng.random() < 0.3
        self.counts["servers crashed" if fatal else "back ends ended"] += 1
        if fatal:  # the server ends all others, and recovers
            os.kill(pid, signal.SIGKILL)
        else:
            await conn.execute("SELECT pg_terminate_backend($1)", pid)
        return True

    async def quiet(self) -> None:
        """Wait until no session of a runner is left: one may have been at its COMMIT."""
        async with asyncio.timeout(QUIET_SECONDS):
            while True:
                with suppress(*GONE):
                    async with superuser(self.database.superuser_url) as conn:
                        if not await conn.fetchval(
                            f"SELECT count(*) FROM pg_stat_activity WHERE {SESSIONS}"
                        ):
                            return
                await asyncio.sleep(0.05)

    # The truth

    async def audit(self) -> dict[str, int]:
        """Return how what is there differs from the ledger, and the ledger from the books."""
        async with superuser(self.database.superuser_url) as conn:
            seen = await evidence.look(conn)
        digests = {m.version: m.digest for m in self.fleet.files.tenant}
        found: Counter[str] = Counter()
        for number in range(1, self.tenants + 1):
            found.update(seen.differences(f"t_tenant_{number}", self.ordeal, digests))
        applied = [f"{s}:{version}" for s, versions in seen.ledger.items() for version in versions]
        self.books.uncertain = set(applied)
        return {**found, "lost": self.books.audit(applied)["lost"]}

    async def complete(self) -> int:
        """Return how many tenants have everything."""
        async with superuser(self.database.superuser_url) as conn:
            return (await evidence.look(conn)).complete(self.ordeal)


async def _until(conn: asyncpg.Connection, condition: str, running: "asyncio.Task[str]") -> None:
    """Wait until the query *condition* answers true, or the runner has ended."""
    while not running.done() and not await conn.fetchval(condition):
        await asyncio.wait([running], timeout=0.002)
