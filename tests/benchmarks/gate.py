"""What the gate costs, beside the same view by the book and fused by hand. See README.md here."""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import gate_apps
from support.databases import Database
from support.processes import Served, environment, hypercorn
from support.servers import fleet
from support.wire import wire

from tenancy import Tenancy

CONNECTIONS = 32
LATENCY_SECONDS = 0.001
BLOCK = 50
FEW = 200
Once = Callable[[int], Awaitable[object]]


async def main(tenants: int, rounds: int, seconds: float) -> None:
    async with fleet(tenants) as (database, all_schemas):
        await many_tenants(database, all_schemas, rounds)
        schemas = dict(list(all_schemas.items())[:FEW])
        await in_process(database, schemas, rounds)
        await side_by_side(database, schemas, rounds)
        await round_trips(database, schemas)
        await at_a_distance(database, schemas, rounds)
        await over_http(database, schemas, rounds, seconds)


@asynccontextmanager
async def variants(
    database: Database, schemas: dict[str, str], size: int = 1
) -> AsyncIterator[dict[str, Once]]:
    """The four ways, each on a pool of *size*, called with the number of the request."""
    slugs = list(schemas)
    book = await gate_apps.open_pool(database.app_url, fused=False, size=size)
    hand = await gate_apps.open_pool(database.app_url, fused=True, size=size)
    same = await gate_apps.open_pool(database.app_url, fused=True, size=size)
    settings = database.settings(
        pool_min_size=size, pool_max_size=size, registry_ttl_seconds=3600, pool_max_schemas=10_000
    )

    async def through_the_gate(n: int) -> object:
        async with tenancy.transaction(slugs[n % len(slugs)], readonly=True) as conn:
            return await conn.fetch(gate_apps.QUERY)

    def schema(n: int) -> str:
        return schemas[slugs[n % len(slugs)]]

    async with book, hand, same, Tenancy(settings=settings) as tenancy:
        yield {
            "gate": through_the_gate,
            "by the book": lambda n: gate_apps.by_the_book(book, schema(n)),
            "fused by hand": lambda n: gate_apps.fused_by_hand(hand, schema(n)),
            "with promises": lambda n: gate_apps.fused_with_promises(same, schema(n)),
        }


async def in_process(database: Database, schemas: dict[str, str], rounds: int) -> None:
    async with variants(database, schemas) as ways:
        times = await interleaved(ways, len(schemas), rounds * 8)
    print(f"\nin one process, one after another, {len(schemas)} tenants, {rounds * 8} rounds")
    report(times)


async def at_a_distance(database: Database, schemas: dict[str, str], rounds: int) -> None:
    async with wire(database.app_url) as line:
        line.latency_seconds = LATENCY_SECONDS
        proxied = Database(database.name, "", database.admin_url, line.url)
        async with variants(proxied, schemas) as ways:
            times = await interleaved(ways, len(schemas), rounds)
    print(f"\nthe same, {LATENCY_SECONDS * 1000:.0f} ms away from the server")
    report(times)


async def interleaved(ways: dict[str, Once], tenants: int, rounds: int) -> dict[str, list[float]]:
    """Requests a second, in blocks that take turns: the machine's moods strike all alike."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for once in ways.values():
        for n in range(5 * tenants):  # until each tenant's statements are its own
            await once(n)
    for round_ in range(rounds):
        for name, once in ways.items():
            started = time.perf_counter()
            for n in range(round_ * BLOCK, (round_ + 1) * BLOCK):
                await once(n)
            rates[name].append(BLOCK / (time.perf_counter() - started))
    return rates


async def side_by_side(database: Database, schemas: dict[str, str], rounds: int) -> None:
    """The slowest of 32 at a time on 10 connections."""
    slowest: dict[str, list[float]] = {}
    async with variants(database, schemas, size=10) as ways:
        for name, once in ways.items():
            slowest[name] = []
            await asyncio.gather(*(once(n) for n in range(10 * len(schemas))))
        for round_ in range(rounds):
            for name, once in ways.items():
                slowest[name].append(await p99(once, round_ * 1000))
    print(f"\np99 of {CONNECTIONS} at a time on 10 connections, {rounds} rounds")
    report({name: [1 / each for each in times] for name, times in slowest.items()})


async def p99(once: Once, first: int) -> float:
    """Seconds that 99 of 100 requests took at most."""
    numbers = iter(range(first, first + 1000))
    took = []

    async def client() -> None:
        for n in numbers:
            started = time.perf_counter()
            await once(n)
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return statistics.quantiles(took, n=100)[-1]


async def many_tenants(database: Database, schemas: dict[str, str], rounds: int) -> None:
    """What a request costs among very many tenants, to what it costs among ten."""
    few = dict(list(schemas.items())[:10])
    async with variants(database, schemas, 10) as all_, variants(database, few, 10) as ten:
        ways = {"gate": all_["gate"], "among ten": ten["gate"]}
        times = await interleaved(ways, len(schemas), rounds * 8)
    print(f"\nthe gate among {len(schemas)} tenants, and among ten")
    report(times)


async def round_trips(database: Database, schemas: dict[str, str]) -> None:
    async with wire(database.app_url) as line:
        proxied = Database(database.name, "", database.admin_url, line.url)
        async with variants(proxied, schemas) as ways:
            print("\nround trips of one request, counted on the wire")
            for name, once in ways.items():
                for n in range(5 * len(schemas)):
                    await once(n)
                line.round_trips = 0
                for n in range(100):
                    await once(n)
                print(f"  {name:<14} {line.round_trips / 100:.2f}")


async def over_http(
    database: Database, schemas: dict[str, str], rounds: int, seconds: float
) -> None:
    settings = database.settings(pool_min_size=10, pool_max_size=10, registry_ttl_seconds=3600)
    env = environment(
        settings, BENCHMARK_SCHEMAS=json.dumps(schemas), PYTHONPATH=str(Path(__file__).parent)
    )
    ways = {"gate": "gate", "by the book": "book", "fused by hand": "hand"}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    async with AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(
                hypercorn(f"gate_apps:{target}()", env=env, ready="/notes")
            )
            for name, target in ways.items()
        }
        for round_ in range(-1, rounds):
            for name, server in servers.items():
                rate = await load(server, list(schemas), seconds)
                if round_ >= 0:
                    rates[name].append(rate)
    print(f"\nover HTTP, hypercorn, one worker, {CONNECTIONS} connections, {rounds} x {seconds} s")
    report(rates)


async def load(server: Served, slugs: list[str], seconds: float) -> float:
    """Requests a second that 32 keep-alive connections get answered 200."""
    deadline = time.perf_counter() + seconds
    answered = 0

    async def client(number: int) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        n = number
        while time.perf_counter() < deadline:
            n += CONNECTIONS
            host = f"{slugs[n % len(slugs)]}.example.com"
            writer.write(f"GET /notes HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head[:20], head
            at = head.lower().index(b"content-length: ") + 16
            await reader.readexactly(int(head[at : head.index(b"\r", at)]))
            answered += 1
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client(n) for n in range(CONNECTIONS)))
    return answered / (time.perf_counter() - started)


def report(rates: dict[str, list[float]]) -> None:
    """Print medians, and the gate's ratio to each baseline round by round; more is better."""
    for name, each in rates.items():
        ratios = [mine / other for mine, other in zip(rates["gate"], each, strict=True)]
        low, *_, high = statistics.quantiles(ratios, n=4)
        print(
            f"  {name:<14} {statistics.median(each):8.0f} a second   gate / this: "
            f"{statistics.median(ratios):.2f}  ({low:.2f} to {high:.2f})"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="of load, per round and way")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.tenants, arguments.rounds, arguments.seconds))
