"""Every tenant at once: `tenancy.each` beside a loop by hand, and a report. See README.md here.

``python tests/benchmarks/fanout.py [--tenants N]``
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import asyncpg
from support.databases import Database
from support.servers import fleet

from tenancy import Tenancy, provision

ROUNDS = 5
PARALLEL = 8
COUNT = "SELECT count(*) FROM notes"


async def main(tenants: int) -> None:
    async with fleet(tenants) as (database, schemas):
        await fan_out(database, schemas.values())
        await report(database, tenants)


async def fan_out(database: Database, schemas: Iterable[str]) -> None:
    print(f"one count of each tenant, {PARALLEL} at a time, microseconds for each")
    sockets = [await asyncpg.connect(database.app_url) for _ in range(PARALLEL)]
    async with Tenancy(settings=database.settings(pool_max_size=PARALLEL + 1)) as tenancy:

        async def each() -> None:
            async for _, rows in tenancy.each(COUNT, parallel=PARALLEL):
                assert not isinstance(rows, BaseException), rows

        async def by_hand() -> None:
            todo = list(schemas)

            async def work(conn: asyncpg.Connection) -> None:
                while todo:
                    schema = todo.pop()
                    async with conn.transaction(readonly=True):
                        await conn.execute(
                            f'SET LOCAL search_path = "{schema}"; SET LOCAL ROLE "{schema}"'
                        )
                        await conn.fetch(COUNT)

            await asyncio.gather(*map(work, sockets))

        taken: dict[str, list[float]] = {"by hand": [], "each": []}
        for _ in range(ROUNDS + 1):
            taken["by hand"].append(await timed(by_hand))
            taken["each"].append(await timed(each))
    for conn in sockets:
        await conn.close()
    count = len(list(schemas))
    base = statistics.median(taken["by hand"][1:])
    for name, seconds in taken.items():
        middle = statistics.median(seconds[1:])
        print(f"  {name:<10} {middle / count * 1e6:6.0f} us  {middle / base:5.2f}")


async def report(database: Database, tenants: int) -> None:
    print("\na report, seconds")
    reader = "pg_read_all_data"  # there already
    async with provision.administrator(database.settings(reports_role=reader)) as admin:
        await show("create", lambda: admin.create_report("notes", "notes"))
        await show("refresh, nothing new", admin.refresh_reports)
        await admin.suspend("acme")
        await admin.create("one-more")
        await show("refresh, one more tenant", admin.refresh_reports)
        conn = admin.connection
        for words, sql in (
            ("count of all rows", "SELECT count(*) FROM tenancy_reports.notes"),
            ("of one tenant", "SELECT count(*) FROM tenancy_reports.notes WHERE tenant = 'acme'"),
        ):
            await show(words, lambda sql=sql: conn.fetchval(sql))  # type: ignore[misc]
        async with conn.transaction():
            await conn.fetchval("SELECT count(*) FROM tenancy_reports.notes")
            held = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"
            print(f"  {await conn.fetchval(held)} locks, of {tenants + 1} tables")


async def show(words: str, work: Callable[[], Awaitable[object]]) -> None:
    print(f"  {words:<25} {await timed(work):7.3f}")


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000)
    asyncio.run(main(parser.parse_args().tenants))
