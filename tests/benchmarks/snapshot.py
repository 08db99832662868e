"""A new tenant from a snapshot, beside psql running that file. See README.md here."""

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from support.databases import drop_database, drop_logins, make_database, make_logins, superuser
from support.processes import environment, run
from support.servers import server

from tenancy import migrate, provision
from tenancy.embedded.programs import program
from tenancy.migrate.origin.snapshot import written
from tenancy.migrate.shape.libpq import connection
from tenancy.settings import Settings

FILE = """
CREATE TABLE table_{n:03} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent bigint{parent}, name text NOT NULL, state text NOT NULL DEFAULT 'new'
        CHECK (state IN ('new', 'old')),
    amount numeric(12, 2), settings jsonb NOT NULL DEFAULT '{{}}', created_at timestamptz
        NOT NULL DEFAULT now());
CREATE INDEX ON table_{n:03} (parent);
CREATE INDEX ON table_{n:03} (lower(name));
"""


def files(folder: Path, tables: int) -> None:
    """Write a file for each table, every other one with a foreign key."""
    (folder / "tenant").mkdir(parents=True)
    for n in range(1, tables + 1):
        parent = f" REFERENCES table_{n - 1:03}" if n % 2 == 0 else ""
        text = FILE.format(n=n, parent=parent)
        (folder / f"tenant/{n:04}_table.sql").write_text(text)


async def main(tables: int, rounds: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tenancy-benchmark-sql-"))
    files(folder, tables)
    with server() as url:
        logins = await make_logins(url)
        database = await make_database(url, logins)
        settings = database.settings(sql_dir=folder)
        (await migrate.migrate(settings)).raise_for_failures()
        replayed = [await created(settings, f"replayed-{n}") for n in range(3)]
        started = time.perf_counter()
        path = written(await migrate.snapshot(settings), folder)
        print(f"{tables} tables; the snapshot was made in {time.perf_counter() - started:.1f} s")
        async with superuser(database.superuser_url) as conn:
            major = conn.get_server_version().major
        seconds: dict[str, list[float]] = {"create": [], "psql": [], "psql -1": []}
        for n in range(rounds):
            seconds["create"].append(await created(settings, f"copied-{n}"))
            seconds["psql"].append(await psql(database.admin_url, path, f"t_a{n}", major))
            seconds["psql -1"].append(await psql(database.admin_url, path, f"t_b{n}", major, "-1"))
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        print(f"  all files, each statement     {statistics.median(replayed) * 1000:7.0f} ms")
        for name, median in medians.items():
            share = median / medians["psql"]
            print(f"  {name:28}  {median * 1000:7.0f} ms  {share:.2f} of psql, median of {rounds}")
        started = time.perf_counter()
        await run("-m", "tenancy", "tenants", "create", "acme", env=environment(settings))
        print(f"  the whole command             {(time.perf_counter() - started) * 1000:7.0f} ms")
        await drop_database(url, database)
        await drop_logins(url, logins)
    shutil.rmtree(folder)


async def created(settings: Settings, slug: str) -> float:
    """Make a tenant: connections, files, registry, role, grants, tables."""
    started = time.perf_counter()
    async with provision.administrator(settings) as admin:
        await admin.create(slug)
    return time.perf_counter() - started


async def psql(dsn: str, path: Path, schema: str, major: int, *options: str) -> float:
    """Make a schema, and run the file in it."""
    address, secret = connection(dsn)
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(str(program("psql", major)), "-Xq", "-v", "ON_ERROR_STOP=1", "-d", address, *options),
        *("-c", f"CREATE SCHEMA {schema}", "-c", f"SET search_path = {schema}, shared, pg_temp"),
        *("-f", str(path)),
        env={**environment(), **secret},
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.tables, arguments.rounds))
