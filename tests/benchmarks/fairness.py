"""One tenant floods with slow queries: what becomes of the others. See README.md here."""

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from load import OPTIONS, Client, Seen, percentiles
from support.processes import environment, hypercorn
from support.servers import fleet

FLOOD = "/sleep/1000"
OTHERS = "/notes"
PER_SECOND = 60  # of all others together


async def steady(client: Client, seconds: float) -> Seen:
    """Requests of the others at a steady rate, however long the answers take."""
    seen = Seen()
    tasks = []
    begun = time.perf_counter()
    for n in range(int(seconds * PER_SECOND)):
        await asyncio.sleep(max(0.0, begun + n / PER_SECOND - time.perf_counter()))
        if client.idle:
            tasks.append(asyncio.create_task(client.ask(OTHERS, seen, time.perf_counter())))
        else:
            seen.held_back += 1
    await asyncio.gather(*tasks)
    return seen


async def flood(client: Client, connections: int, seen: Seen) -> None:
    """Requests of the one tenant, the next as soon as there is an answer."""

    async def one() -> None:
        while True:
            await client.ask(FLOOD, seen, time.perf_counter())
            await asyncio.sleep(0.1)

    await asyncio.gather(*(one() for _ in range(connections)))


async def main(rounds: int, seconds: float, connections: int) -> None:
    async with fleet(20) as (database, schemas), AsyncExitStack() as stack:
        slugs = list(schemas)
        settings = database.settings(pool_min_size=10, pool_max_size=10, registry_ttl_seconds=3600)
        ways: dict[str, Client] = {}
        for name, more in (("permits", {}), ("none", {"BENCHMARK_NO_PERMITS": "1"})):
            env = environment(settings, PYTHONPATH=str(Path(__file__).parent), **more)
            serving = hypercorn("load_apps:create()", *OPTIONS, env=env)
            server = await stack.enter_async_context(serving)
            ways[name] = Client(server.port, [f"{slug}.example.com" for slug in slugs[1:]])
            await ways[name].connect(300)
        p99: dict[tuple[str, str], list[float]] = {}
        statuses: dict[tuple[str, str], Counter[int]] = {}
        for round_ in range(-1, rounds):
            for name, client in ways.items():
                for load in ("quiet", "flooded"):
                    flooding = Client(client.port, [f"{slugs[0]}.example.com"])
                    task = None
                    if load == "flooded":
                        await flooding.connect(connections)
                        task = asyncio.create_task(flood(flooding, connections, Seen()))
                        await asyncio.sleep(0.5)
                    seen = await steady(client, seconds)
                    if task is not None:
                        task.cancel()
                        await asyncio.wait({task})
                        await asyncio.sleep(6)  # what of the flood still waits is refused
                    if round_ >= 0:
                        p99.setdefault((name, load), []).append(percentiles(seen.latencies)[1])
                        statuses.setdefault((name, load), Counter()).update(seen.statuses)
    print(f"\n{connections} connections of one tenant ask for {FLOOD}; the others: {PER_SECOND}/s")
    for (name, load), each in p99.items():
        print(
            f"  permits: {name:<8} {load:<8} p99 {statistics.median(each) * 1000:7.1f} ms  "
            f"({min(each) * 1000:.1f} to {max(each) * 1000:.1f})  {dict(statuses[name, load])}"
        )
    for name in ways:
        ratios = [
            loud / quiet
            for loud, quiet in zip(p99[name, "flooded"], p99[name, "quiet"], strict=True)
        ]
        print(f"  permits: {name:<8} flooded / quiet {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=100)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rounds, arguments.seconds, arguments.connections))
