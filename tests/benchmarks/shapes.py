"""What comparing schemas costs: one fingerprint by number of tables, and `verify` over a fleet.

    python tests/benchmarks/shapes.py                   1,000 tenants of 3 tables
    python tests/benchmarks/shapes.py --tenants 10000   what sql/README.md quotes

A fingerprint is timed in schemas that the connection has not seen, as a run meets them, and again.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import asyncpg
import psutil
from support import crowds, histories
from support.databases import Database, drop_database, drop_logins, make_database, make_logins
from support.processes import environment
from support.servers import server

from tenancy import migrate

SCHEMAS = 20  # of each size
TABLE = """
    CREATE TABLE things_{n} (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        parent bigint REFERENCES things_{parent},
        name text NOT NULL CHECK (name <> ''), kind varchar(20) CHECK (kind IN ('a', 'b')),
        body text, price numeric(10, 2), data jsonb NOT NULL DEFAULT '{{}}', key uuid,
        created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX ON things_{n} (parent); CREATE INDEX ON things_{n} (name) WHERE kind = 'a';
"""


async def main(tenants: int) -> None:
    with server() as url:
        logins = await make_logins(url)
        database = await make_database(url, logins)
        try:
            await fingerprints(database)
            await fleet(database, tenants)
        finally:
            await drop_database(url, database)
            await drop_logins(url, logins)


async def fingerprints(database: Database) -> None:
    (await migrate.migrate(database.settings())).raise_for_failures()
    conn = await asyncpg.connect(database.admin_url, statement_cache_size=0)
    for tables in (1, 3, 10, 30, 100):
        text = "".join(TABLE.format(n=n, parent=max(n - 1, 1)) for n in range(1, tables + 1))
        names = [f"t_of_{tables}_{number}" for number in range(SCHEMAS)]
        for name in names:
            await conn.execute(f"CREATE SCHEMA {name}; SET search_path = {name}; {text}")
    await conn.execute("ANALYZE")
    await conn.close()
    conn = await asyncpg.connect(database.admin_url, statement_cache_size=0)
    for tables in (1, 3, 10, 30, 100):
        names = [f"t_of_{tables}_{number}" for number in range(SCHEMAS)]
        for words in ("first", "again"):
            spent = [await _timed(conn, name) for name in names]
            print(f"{tables:4} tables, {words}: {statistics.median(spent):6.2f} ms")
    await conn.close()


async def _timed(conn: asyncpg.Connection, name: str) -> float:
    began = time.perf_counter()
    await conn.fetchval("SELECT tenancy.fingerprint($1::text::regnamespace)", name)
    return (time.perf_counter() - began) * 1000


async def fleet(database: Database, tenants: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tenancy-benchmark-"))
    histories.write(folder / "sql", 9)  # three tables
    settings = database.settings(sql_dir=folder / "sql")
    await crowds.make(database, tenants, settings=settings)
    for arguments in (["verify"], ["verify", "--parallel", "2"], ["verify", "--against", "files"]):
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tenancy.migrate", *arguments),
            env=environment(settings) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            stdout=asyncio.subprocess.PIPE,
        )
        most = await _watched(process)
        assert process.stdout
        words = (await process.stdout.read()).decode().splitlines()[-1]
        print(f"{' '.join(arguments)}: {time.perf_counter() - began:.1f} s, {most:.0f} MB: {words}")
    shutil.rmtree(folder)


async def _watched(process: asyncio.subprocess.Process) -> float:
    """Return the most memory that *process* had, in MB."""
    most = 0.0
    while process.returncode is None:
        try:
            most = max(most, psutil.Process(process.pid).memory_info().rss / 1e6)
            await asyncio.wait_for(process.wait(), 0.05)
        except (TimeoutError, psutil.NoSuchProcess):
            continue
    return most


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenants", type=int, default=1000)
    asyncio.run(main(parser.parse_args().tenants))
