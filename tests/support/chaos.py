"""A runner and its back ends, killed at moments that follow from a seed; and what is left then."""

import asyncio
import json
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from support.books import Books
from support.databases import Database, superuser
from support.fleets import Fleet
from support.ordeal import ROWS, Ordeal

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

_EVIDENCE = """
    SELECT n.nspname::text AS schema, e.what, count(*) AS times FROM pg_namespace AS n,
    LATERAL (
        SELECT concat('relation ', c.relname, CASE WHEN NOT i.indisvalid THEN ' (invalid)' END)
        FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
        WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'i')
        UNION ALL
        SELECT 'function ' || p.proname FROM pg_proc AS p WHERE p.pronamespace = n.oid
        UNION ALL
        SELECT 'label ' || l.enumlabel FROM pg_enum AS l
        JOIN pg_type AS t ON t.oid = l.enumtypid WHERE t.typnamespace = n.oid
    ) AS e (what)
    WHERE n.nspname LIKE 't\\_tenant\\_%' GROUP BY 1, 2
"""
_LEDGER = """
    SELECT n.nspname::text AS schema, m.version FROM tenancy.migrations AS m
    JOIN pg_namespace AS n ON n.oid = m.schema_oid WHERE m.stage = 'tenant'
"""
_CHECKPOINTS = """
    SELECT n.nspname::text AS schema, c.version, c.digest FROM tenancy.checkpoints AS c
    JOIN pg_namespace AS n ON n.oid = c.schema_oid WHERE c.stage = 'tenant'
"""
_STEPS = "SELECT schema_name, version, step, finished_at IS NOT NULL AS done FROM tenancy.steps"
_FILLED = "SELECT schema_name, sum(done)::bigint AS done FROM tenancy.backfills GROUP BY 1"


@dataclass
class Seen:
    """All that can be known of a fleet at one moment."""

    evidence: dict[str, Counter[str]]
    ledger: dict[str, set[str]]
    checkpoints: dict[str, tuple[str, str]]
    steps: dict[tuple[str, str], dict[int, bool]]
    fixed: dict[str, tuple[int, int, int]]
    filled: dict[str, int]
    saved: dict[str, int]


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
            seen = await _seen(conn)
        found: Counter[str] = Counter({"half": 0, "doubled": 0, "false": 0, "off the chain": 0})
        digests = {m.version: m.digest for m in self.fleet.files.tenant}
        for schema in (f"t_tenant_{number}" for number in range(1, self.tenants + 1)):
            self._audit(schema, seen, digests, found)
        applied = [f"{s}:{version}" for s, versions in seen.ledger.items() for version in versions]
        self.books.uncertain = set(applied)
        return {**found, "lost": self.books.audit(applied)["lost"]}

    def _audit(self, schema: str, seen: Seen, digests: dict[str, str], found: Counter[str]) -> None:
        evidence, ledger = seen.evidence.get(schema, Counter()), seen.ledger.get(schema, set())
        for file in self.ordeal.files:
            times = [evidence[what] for what in file.evidence]
            found["doubled"] += sum(n > 1 for n in times)
            if file.version in ledger:
                found["false"] += not all(times)
            else:
                steps = seen.steps.get((schema, file.version), {})
                there = {what for what in file.evidence if evidence[what]}
                found["half"] += len(there - {file.steps[number - 1] for number in steps})
                ended = {file.steps[number - 1] for number, done in steps.items() if done}
                found["false"] += len(ended - there - {""})
        versions = sorted(ledger)
        found["half"] += versions != [file.version for file in self.ordeal.files][: len(versions)]
        at = seen.checkpoints.get(schema)
        right = (versions[-1], digests[versions[-1]]) if versions else None
        found["off the chain"] += at != right
        fixes = sum(file.fixes for file in self.ordeal.files if file.version in ledger)
        if versions:
            found["doubled"] += seen.fixed[schema] != (fixes, fixes, ROWS)
            found["doubled"] += seen.filled[schema] != seen.saved.get(schema, 0)

    async def complete(self) -> int:
        """Return how many tenants have all files and everything that these make."""
        async with superuser(self.database.superuser_url) as conn:
            seen = await _seen(conn)
        wanted = {what for file in self.ordeal.files for what in file.evidence}
        versions = {file.version for file in self.ordeal.files}
        fills = ROWS * sum(file.fills for file in self.ordeal.files)
        return sum(
            seen.ledger[schema] == versions
            and wanted <= set(evidence)
            and seen.filled[schema] == fills
            and not any("(invalid)" in what for what in evidence)
            for schema, evidence in seen.evidence.items()
        )


async def _until(conn: asyncpg.Connection, condition: str, running: "asyncio.Task[str]") -> None:
    """Wait until the query *condition* answers true, or the runner has ended."""
    while not running.done() and not await conn.fetchval(condition):
        await asyncio.wait([running], timeout=0.002)


async def _seen(conn: asyncpg.Connection) -> Seen:
    evidence: dict[str, Counter[str]] = {}
    for row in await conn.fetch(_EVIDENCE):
        evidence.setdefault(row["schema"], Counter())[row["what"]] = row["times"]
    ledger: dict[str, set[str]] = {}
    for row in await conn.fetch(_LEDGER):
        ledger.setdefault(row["schema"], set()).add(row["version"])
    begun = [schema for schema, found in evidence.items() if found["relation marks"]]
    for schema, file, part, times in await _rows(conn, _MARKS, begun):
        evidence[schema][f"mark {file} {part}"] = times
    people = await _rows(conn, _PEOPLE, begun)
    steps: dict[tuple[str, str], dict[int, bool]] = {}
    for row in await conn.fetch(_STEPS):
        steps.setdefault((row["schema_name"], row["version"]), {})[row["step"]] = row["done"]
    return Seen(
        evidence,
        ledger,
        {r["schema"]: (r["version"], r["digest"]) for r in await conn.fetch(_CHECKPOINTS)},
        steps,
        {schema: (low, high, count) for schema, low, high, count, _ in people},
        {schema: filled for schema, *_, filled in people},
        {row["schema_name"]: row["done"] for row in await conn.fetch(_FILLED)},
    )


_MARKS = "SELECT '{0}', file, part, count(*) FROM {0}.marks GROUP BY file, part"
_PEOPLE = "SELECT '{0}', min(fixed), max(fixed), count(*), sum(filled) FROM {0}.people"


async def _rows(conn: asyncpg.Connection, query: str, schemas: list[str]) -> list[tuple[Any, ...]]:
    if not schemas:
        return []
    return [
        tuple(row)
        for row in await conn.fetch(" UNION ALL ".join(query.format(name) for name in schemas))
    ]
