"""What the isolation levels cost beside each other: one process, one request after another."""

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import gate_apps
from support.databases import Database, raise_walls
from support.servers import fleet

from tenancy import Isolation, Tenancy, provision

LEVELS = ("schema", "role", "strict")


async def main(tenants: int, rounds: int, requests: int) -> None:
    async with fleet(tenants) as (database, schemas), AsyncExitStack() as stack:
        await raise_walls(database)  # PUBLIC's rights are the same for all three
        running = {level: await _opened(stack, database, level) for level in LEVELS}
        for kind in ("read", "write, no arguments"):
            rounded = [await _round(running, list(schemas), requests, kind) for _ in range(rounds)]
            _report(kind, tenants, requests, rounded[1:])


async def _opened(stack: AsyncExitStack, database: Database, level: str) -> Tenancy:
    settings = database.settings(
        isolation=Isolation(level), pool_max_size=1, registry_ttl_seconds=3600
    )
    async with provision.administrator(settings) as admin:
        await admin.grant()
    return await stack.enter_async_context(Tenancy(settings=settings))


async def _round(
    running: dict[str, Tenancy], slugs: list[str], requests: int, kind: str
) -> dict[str, float]:
    """Return the median seconds of a request at each level; they take turns at every request."""
    seconds: dict[str, list[float]] = {level: [] for level in LEVELS}
    for n in range(requests):
        for level in (*LEVELS[n % 3 :], *LEVELS[: n % 3]):
            started = time.perf_counter()
            await _request(running[level], slugs[n % len(slugs)], readonly=kind == "read")
            seconds[level].append(time.perf_counter() - started)
    return {level: statistics.median(each) for level, each in seconds.items()}


async def _request(tenancy: Tenancy, slug: str, *, readonly: bool) -> None:
    async with tenancy.transaction(slug, readonly=readonly) as conn:
        if readonly:
            await conn.fetch(gate_apps.QUERY)
        else:
            await conn.execute("UPDATE notes SET updated_at = now() WHERE id = 1")


def _report(kind: str, tenants: int, requests: int, rounded: list[dict[str, float]]) -> None:
    print(
        f"\n{kind}; {tenants} tenants, {len(rounded)} rounds of {requests} requests, taking turns"
    )
    for level in LEVELS:
        ratios = [each[level] / each["schema"] for each in rounded]
        print(
            f"  {level:<7} {statistics.median(each[level] for each in rounded) * 1e6:7.0f} us"
            f"   time / schema: {statistics.median(ratios):.3f}"
            f"  ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--requests", type=int, default=400)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.tenants, arguments.rounds, arguments.requests))
