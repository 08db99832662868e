"""2,000 connections on a pool of 10: offered load to goodput; and slow clients. See README.md."""

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import psutil
from support.databases import Database
from support.processes import Served, environment, hypercorn
from support.servers import fleet

MULTIPLES = (0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)
OPTIONS = ("--keep-alive", "75", "--backlog", "2048")  # as in config/hypercorn.toml
DEADLINE_SECONDS = 5.0  # a client's patience: what is answered later is no goodput


class Seen:
    """What a load got for an answer, and when."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []  # of the answers 200
        self.slowest = 0.0  # of all
        self.late = 0
        self.cpu_seconds = 0.0  # of the server's worker
        self.held_back = 0  # could not be sent: every connection waited for an answer

    def add(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.slowest = max(self.slowest, seconds)
        if status == 200:
            self.latencies.append(seconds)
            self.late += seconds > DEADLINE_SECONDS

    def line(self, offered: float, seconds: float, cpu_seconds: float) -> str:
        p50, p99 = percentiles(self.latencies)
        refused = self.statuses[503]
        other = self.statuses.total() - refused - self.statuses[200]
        good = (self.statuses[200] - self.late) / seconds
        return (
            f"{offered:9.0f} {good:9.0f} {p50 * 1000:8.0f} {p99 * 1000:8.0f} "
            f"{self.slowest * 1000:9.0f} {refused / seconds:8.0f} {self.late:6d} {other:6d} "
            f"{self.held_back / seconds:9.0f} {cpu_seconds / seconds:5.2f} "
            f"{(self.statuses[200] - self.late) / cpu_seconds:9.0f}"
        )


HEAD = (
    f"{'offered/s':>9} {'goodput/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'slowest ms':>9} "
    f"{'503/s':>7} {'late':>6} {'other':>6} {'held back':>9} {'CPU':>5} {'per CPU s':>9}"
)


def percentiles(latencies: Sequence[float]) -> tuple[float, float]:
    if len(latencies) < 2:
        return (0.0, 0.0)
    cuts = statistics.quantiles(latencies, n=100)
    return cuts[49], cuts[98]


class Client:
    """Keep-alive connections, each with one request at a time."""

    def __init__(self, port: int, hosts: Sequence[str]) -> None:
        self.port = port
        self.hosts = hosts
        self.idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self.turn = 0

    async def connect(self, count: int) -> None:
        for _ in range(count):
            self.idle.append(await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, path: str, seen: Seen, started: float) -> None:
        reader, writer = self.idle.popleft()
        self.turn += 1
        host = self.hosts[self.turn % len(self.hosts)]
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().index(b"content-length: ") + 16
            await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        except (OSError, asyncio.IncompleteReadError):
            seen.add(0, time.perf_counter() - started)
            writer.close()
            self.idle.append(await asyncio.open_connection("127.0.0.1", self.port))
            return
        seen.add(int(head[9:12]), time.perf_counter() - started)
        self.idle.append((reader, writer))

    async def offer(
        self, path: str, per_second: float, seconds: float, used: Callable[[], float]
    ) -> Seen:
        """Send at a steady rate, whatever the answers do, as far as connections are free."""
        seen = Seen()
        tasks = set()
        used_before = used()
        begun = time.perf_counter()
        sent = 0
        while (now := time.perf_counter()) - begun < seconds:
            due = int((now - begun) * per_second)
            while sent < due:
                sent += 1
                if not self.idle:
                    seen.held_back += 1
                    continue
                task = asyncio.create_task(self.ask(path, seen, now))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        seen.cpu_seconds = used() - used_before
        answered = Counter(seen.statuses), list(seen.latencies), seen.late
        if tasks:
            await asyncio.wait(tasks)  # those count for the slowest only
        seen.statuses, seen.latencies, seen.late = answered
        return seen

    async def saturate(self, path: str, connections: int, seconds: float) -> float:
        """Return the rate of answers 200 to so many connections that never pause."""
        seen = Seen()
        until = time.perf_counter() + seconds

        async def one() -> None:
            while (now := time.perf_counter()) < until:
                await self.ask(path, seen, now)

        await asyncio.gather(*(one() for _ in range(connections)))
        return seen.statuses[200] / seconds


def memory(server: Served) -> float:
    """Resident megabytes of the server's worker."""
    return float(worker(server).memory_info().rss / 2**20)


def cpu(server: Served) -> float:
    """Seconds of CPU that the server's worker has used: a shared machine gives it no whole one."""
    return float(sum(worker(server).cpu_times()[:2]))


def worker(server: Served) -> psutil.Process:
    children = psutil.Process(server.process.pid).children(recursive=True)
    return max(children, key=lambda child: child.memory_info().rss)


async def curve(
    database: Database, slugs: Sequence[str], path: str, connections: int, seconds: float
) -> None:
    settings = database.settings(pool_min_size=10, pool_max_size=10, registry_ttl_seconds=3600)
    hosts = [f"{slug}.example.com" for slug in slugs]
    env = environment(settings, PYTHONPATH=str(Path(__file__).parent))
    async with hypercorn("load_apps:create()", *OPTIONS, env=env) as server:
        client = Client(server.port, hosts)
        await client.connect(64)
        await client.saturate(path, 64, 1)
        before = cpu(server)
        capacity = await client.saturate(path, 64, seconds)
        per_cpu = capacity * seconds / (cpu(server) - before)
        quiet = memory(server)
        await client.connect(connections - 64)
        print(f"\n{path}: {connections} connections, {len(slugs)} tenants, a pool of 10")
        print(
            f"64 connections without a pause get {capacity:.0f}/s, {per_cpu:.0f} per CPU s\n{HEAD}"
        )
        for multiple in MULTIPLES:
            seen = await client.offer(path, multiple * capacity, seconds, lambda: cpu(server))
            print(seen.line(multiple * capacity, seconds, seen.cpu_seconds), flush=True)
        print(f"resident: {quiet:.0f} MB before, {memory(server):.0f} MB after")
        print(*[line for line in server.err if "error" in line.lower()][:3], sep="")


async def slow_clients(database: Database, slugs: Sequence[str]) -> None:
    """Forty clients that send a body a byte a second, on a pool of 10."""
    settings = database.settings(pool_min_size=1, pool_max_size=10)
    env = environment(settings, PYTHONPATH=str(Path(__file__).parent))
    async with hypercorn("load_apps:create()", *OPTIONS, env=env) as server:
        slow = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(40)]
        for number, (_, writer) in enumerate(slow):
            host = f"{slugs[number % len(slugs)]}.example.com"
            writer.write(
                f"POST /notes HTTP/1.1\r\nHost: {host}\r\nContent-Length: 60\r\n\r\n".encode()
            )
        client = Client(server.port, [f"{slug}.example.com" for slug in slugs])
        await client.connect(16)
        seen = Seen()
        for _ in range(5):
            for _, writer in slow:
                writer.write(b"x")
            for _ in range(100):
                await client.ask("/notes", seen, time.perf_counter())
            await asyncio.sleep(1)
        _, ready = await server.get("/readyz")
        p50, p99 = percentiles(seen.latencies)
        print(f"\n40 clients send a byte a second; 500 others: {dict(seen.statuses)}, ", end="")
        print(f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms; pool: {ready['pool']}")


async def main(connections: int, seconds: float, tenants: int) -> None:
    async with fleet(tenants) as (database, schemas):
        for path in ("/notes", "/sleep/50"):
            await curve(database, list(schemas), path, connections, seconds)
        await slow_clients(database, list(schemas))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--tenants", type=int, default=50)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.connections, arguments.seconds, arguments.tenants))
