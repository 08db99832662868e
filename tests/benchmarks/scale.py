"""How far it goes: 10,000 tenants; nothing pending, one ALTER, plan, status; what it all takes.

    python tests/benchmarks/scale.py                      1,000 tenants of 3 tables, half a minute
    python tests/benchmarks/scale.py --tenants 10000      what sql/README.md quotes, some minutes

The tenants are made by the server (tests/support/crowds.py), each with the tables, indexes and rows
in the ledger that the migrator would have made. Everything is the whole command, as a process.
"""

import argparse
import asyncio
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import asyncpg
import psutil
from support import crowds, histories
from support.databases import (
    Database,
    drop_database,
    drop_logins,
    make_database,
    make_logins,
    superuser,
)
from support.processes import environment
from support.servers import server
from support.wire import PASS, wire

from tenancy import migrate

MB = 1e6
ALTER = "ALTER TABLE things_1 ADD COLUMN pinned boolean NOT NULL DEFAULT false;\n"

_CATALOGS = """
    SELECT count(*) FILTER (WHERE relkind = 'r') AS tables, count(*) AS relations,
           pg_total_relation_size('pg_class') AS pg_class,
           pg_total_relation_size('pg_attribute') AS pg_attribute,
           (SELECT sum(pg_total_relation_size(oid)) FROM pg_class
            WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r')::bigint AS catalogs,
           (SELECT sum(pg_total_relation_size(oid)) FROM pg_class
            WHERE relnamespace = 'tenancy'::regnamespace AND relkind = 'r')::bigint AS ledger,
           pg_database_size(current_database()) AS database
    FROM pg_class
"""
_SESSIONS = """
    SELECT a.pid, count(l.pid) AS locks FROM pg_stat_activity AS a
    LEFT JOIN pg_locks AS l ON l.pid = a.pid AND NOT l.fastpath
        AND l.locktype NOT IN ('virtualxid', 'transactionid')
    WHERE a.datname = current_database() AND a.application_name = 'tenancy migrate' GROUP BY a.pid
"""


@dataclass
class Watched:
    """What a command's process and its sessions took, in megabytes, by how many were done.

    Attributes:
        runner: of the process, as (tenants done, megabytes).
        locks: most entries of the shared lock table that its sessions held at one time.
        session: most memory of one of its back ends, shared buffers left out.
    """

    runner: list[tuple[int, float]] = field(default_factory=list)
    locks: int = 0
    session: float = 0.0

    def at(self, share: float) -> str:
        """The process's memory once this *share* of the tenants was done."""
        whole = self.runner[-1][0] if self.runner else 0
        found = [megabytes for done, megabytes in self.runner if done >= share * whole]
        return f"{found[0]:.0f} MB at {share * whole:.0f}" if found else "-"


async def main(options: argparse.Namespace) -> None:
    # An installed package has its bytecode, which is a third of its start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    folder = Path(tempfile.mkdtemp(prefix="tenancy-benchmark-scale-"))
    histories.write(folder / "sql", 3 * options.tables)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        url = stack.enter_context(server())
        logins = await make_logins(url)
        stack.push_async_callback(drop_logins, url, logins)
        database = await make_database(url, logins)
        stack.push_async_callback(drop_database, url, database)
        settings = database.settings(sql_dir=folder / "sql")
        (await migrate.migrate(settings)).raise_for_failures()
        started = time.perf_counter()
        await crowds.make(database, options.tenants, settings=settings)
        took = time.perf_counter() - started
        print(
            f"{options.tenants} tenants of {options.tables} tables, made in {took:.0f} s;", end=" "
        )
        print(f"load average {os.getloadavg()[0]:.1f}")
        await catalogs(database)
        env = environment(settings)
        print("\nnothing pending, the whole command")
        await timed(env, "up", rounds=5)
        await timed(env, "plan", "--check", rounds=3)
        await timed(env, "status", rounds=3)
        await queries(database, env)
        (folder / "sql" / "tenant" / f"{3 * options.tables + 1:04}_pinned.sql").write_text(ALTER)
        print("\none ALTER pending for each")
        await timed(env, "plan", rounds=2)
        await timed(env, "status", rounds=2)
        print(f"\none ALTER over all, --parallel {options.parallel}")
        await altered(database, env, options.parallel)
        await timed(env, "up", rounds=3)
        await catalogs(database)


async def timed(env: dict[str, str], *arguments: str, rounds: int) -> None:
    took = []
    most = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tenancy.migrate", *arguments),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        reading = asyncio.create_task(process.communicate())
        child = psutil.Process(process.pid)
        while not reading.done():
            with suppress(psutil.Error):
                most = max(most, child.memory_info().rss / MB)
            await asyncio.sleep(0.05)
        out, _ = await reading
        took.append(time.perf_counter() - started)
        assert process.returncode == 0, out.decode()[-2000:]
    last = out.decode().strip().splitlines()[-1]
    print(
        f"  {' '.join(arguments):14} {statistics.median(took):6.2f} s  (fastest {min(took):.2f})"
        f"  {most:4.0f} MB  {last[:60]}"
    )


async def queries(database: Database, env: dict[str, str]) -> None:
    """Print what `up` asks the server when nothing is pending."""
    asked: list[bytes] = []

    def seen(data: bytes) -> str:
        asked.append(data)
        return PASS

    async with wire(database.admin_url) as proxy:
        proxy.verdict = seen
        await timed({**env, "TENANCY_ADMIN_DATABASE_URL": proxy.url}, "up", rounds=1)
        trips = proxy.round_trips
    pending = sum(data.count(b"FROM tenancy.tenants") for data in asked)
    writes = sum(len(re.findall(rb"\b(INSERT|UPDATE|DELETE)\b", data)) for data in asked)
    print(f"  round trips {trips}, queries of the tenants {pending}, writes {writes}")


async def altered(database: Database, env: dict[str, str], parallel: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tenancy.migrate", "up", "--parallel", str(parallel)),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    started = time.perf_counter()
    reading = asyncio.create_task(process.communicate())
    watched = Watched()
    async with superuser(database.superuser_url) as conn:
        before = await written(conn)
        while not reading.done():
            with suppress(psutil.Error):
                await look(conn, process.pid, watched, before)
            await asyncio.sleep(0.2)
    out, _ = await reading
    seconds = time.perf_counter() - started
    assert process.returncode == 0, out.decode()[-2000:]
    tenants = int(watched.runner[-1][0]) if watched.runner else 0
    print(f"  {seconds:.1f} s, {tenants / seconds:.0f} tenants/s: {out.decode().splitlines()[-1]}")
    print("  memory of the runner:", ", ".join(watched.at(share) for share in (0.1, 0.5, 1)))
    print(f"  largest back end {watched.session:.0f} MB, entries in the lock table {watched.locks}")


async def written(conn: asyncpg.Connection) -> int:
    return int(await conn.fetchval("SELECT count(*) FROM tenancy.migrations"))


async def look(conn: asyncpg.Connection, pid: int, watched: Watched, before: int) -> None:
    done = await written(conn) - before
    watched.runner.append((done, psutil.Process(pid).memory_info().rss / MB))
    sessions = await conn.fetch(_SESSIONS)
    watched.locks = max(watched.locks, sum(row["locks"] for row in sessions))
    for row in sessions:
        memory = psutil.Process(row["pid"]).memory_info()
        watched.session = max(watched.session, (memory.rss - memory.shared) / MB)


async def catalogs(database: Database) -> None:
    async with superuser(database.superuser_url) as conn:
        row = await conn.fetchrow(_CATALOGS)
    sizes = ", ".join(
        f"{name} {row[name] / MB:.0f} MB"
        for name in ("pg_class", "pg_attribute", "catalogs", "ledger", "database")
    )
    print(f"{row['tables']} tables, {row['relations']} relations: {sizes}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--tables", type=int, default=3)
    parser.add_argument("--parallel", type=int, default=4)
    asyncio.run(main(parser.parse_args()))
