"""Who may share a prepared statement: what each choice costs, and what a connection remembers.

A request is one small query through the gate, on a pool of one, tenants in turn. "hit": the text
has been used before; "miss": it never was. "shared" is asyncpg's own key, the text alone: wrong
where tables differ, and only here for comparison.
"""

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext, suppress
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from gate_apps import QUERY
from support.databases import Database
from support.servers import fleet

from tenancy import StatementCache, Tenancy
from tenancy.pool import connection, pool

BLOCK = 50
CHOICES = ("shared", *map(str, StatementCache))


async def main(sizes: list[int], rounds: int) -> None:
    async with fleet(max(sizes)) as (database, schemas):
        slugs = list(schemas)
        for size in sizes:
            await costs(database, slugs[:size], rounds)
            await affinity(database, slugs[:size], rounds)
        await memory(database, slugs)


async def costs(database: Database, slugs: list[str], rounds: int) -> None:
    async with AsyncExitStack() as stack:
        ways = {}
        for choice in CHOICES:
            settings = database.settings(
                pool_max_size=1,
                pool_max_schemas=100_000,
                registry_ttl_seconds=3600,
                statement_cache="version" if choice == "shared" else choice,
            )
            ways[choice] = await stack.enter_async_context(Tenancy(settings=settings))
        hit: dict[str, list[float]] = {choice: [] for choice in ways}
        miss: dict[str, list[float]] = {choice: [] for choice in ways}
        for choice, tenancy in ways.items():
            await run(choice, tenancy, slugs, range(max(1000, 5 * len(slugs))), QUERY)
        for number in range(rounds):
            turn = range(number * BLOCK, (number + 1) * BLOCK)
            for choice, tenancy in ways.items():
                hit[choice].append(await run(choice, tenancy, slugs, turn, QUERY))
                unseen = f"{QUERY} -- {number}"
                miss[choice].append(await run(choice, tenancy, slugs, turn[:1], unseen))
    print(f"\n{len(slugs)} tenants in turn, microseconds per request, median of {rounds} rounds")
    print(f"  {'':10} {'hit':>8} {'to shared':>10} {'miss':>8}")
    for choice in CHOICES:
        ratio = statistics.median(
            mine / theirs for mine, theirs in zip(hit[choice], hit["shared"], strict=True)
        )
        print(
            f"  {choice:10} {statistics.median(hit[choice]):8.0f} {ratio:10.2f}"
            f" {statistics.median(miss[choice]):8.0f}"
        )


async def run(choice: str, tenancy: Tenancy, slugs: list[str], numbers: range, query: str) -> float:
    """Microseconds per request."""
    with by_text_alone() if choice == "shared" else nullcontext():
        started = time.perf_counter()
        for number in numbers:
            async with tenancy.transaction(slugs[number % len(slugs)], readonly=True) as conn:
                await conn.fetch(query)
        return (time.perf_counter() - started) / len(numbers) * 1e6


def by_text_alone() -> AbstractContextManager[object]:
    return mock.patch.object(connection, "keys", return_value=("", ""))


async def affinity(database: Database, slugs: list[str], rounds: int) -> None:
    """Four at a time on ten connections: each on the one that knows its tenant, or on any."""
    settings = database.settings(
        pool_min_size=10, pool_max_size=10, registry_ttl_seconds=3600, pool_max_schemas=100_000
    )
    took: dict[str, list[float]] = {"one that knows the tenant": [], "any idle one": []}
    async with Tenancy(settings=settings) as tenancy, Tenancy(settings=settings) as other:
        for round_ in range(-10, rounds):
            for name, each in zip(took, (tenancy, other), strict=True):
                known = (
                    nullcontext() if each is tenancy else mock.patch.object(pool, "take", nobody)
                )
                with known:
                    started = time.perf_counter()
                    await asyncio.gather(*(client(each, slugs, n) for n in range(4)))
                if round_ >= 0:
                    took[name].append((time.perf_counter() - started) / 4 / BLOCK * 1e6)
    print(f"\nfour at a time on ten connections, {len(slugs)} tenants, microseconds per request")
    for name, times in took.items():
        print(f"  {name:26} {statistics.median(times):6.0f}")


async def nobody(*_: object) -> None:
    """Stands for `take`, so that the pool's own queue is asked."""


async def client(tenancy: Tenancy, slugs: list[str], number: int) -> None:
    for n in range(BLOCK):
        slug = slugs[(number * 7919 + n * 31) % len(slugs)]
        async with tenancy.transaction(slug, readonly=True) as conn:
            await conn.fetch(QUERY)


async def memory(database: Database, slugs: list[str]) -> None:
    print(f"\none connection, {len(slugs)} tenants in turn, twice: the server process's memory")
    for limit in (100_000, 1000, 200):
        settings = database.settings(
            pool_min_size=1, pool_max_size=1, pool_max_schemas=limit, registry_ttl_seconds=3600
        )
        most = 0.0
        started = time.perf_counter()
        async with Tenancy(settings=settings) as tenancy:
            for slug in (*slugs, *slugs):
                async with tenancy.transaction(slug, readonly=True) as conn:
                    rows = await conn.fetch("SELECT pg_backend_pid() AS pid, count(*) FROM notes")
                with suppress(FileNotFoundError):  # replaced after this request
                    most = max(most, resident(rows[0]["pid"]))
        took = (time.perf_counter() - started) / len(slugs) / 2 * 1e6
        print(
            f"  replaced after {limit:7} tenants: at most {most:6.1f} MB, {took:6.0f} us a request"
        )


def resident(pid: int) -> float:
    """Megabytes that belong to process *pid* alone."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * 4096 / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 200, 5000])
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.tenants, arguments.rounds))
