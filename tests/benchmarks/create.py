"""A new tenant: from the files, from the snapshot, or given a schema made ahead.

Each is `Administrator.create` over an open connection, as the operator's API does it. Beside them
the server alone: the statements of the snapshot, sent at once. See README.md here.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import asyncpg
from support.databases import drop_database, drop_logins, make_database, make_logins
from support.processes import environment, run
from support.servers import server

from tenancy import migrate, provision
from tenancy.migrate.origin.snapshot import written
from tenancy.migrate.shape.snapshot import Snapshot
from tenancy.provision import Administrator

FILE = """
CREATE TABLE table_{n:03} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent bigint{parent}, name text NOT NULL, state text NOT NULL DEFAULT 'new',
    settings jsonb NOT NULL DEFAULT '{{}}', created_at timestamptz NOT NULL DEFAULT now());
"""
INDEXES = ("parent", "lower(name)", "created_at")


def files(folder: Path, tables: int, indexes: int = 1) -> None:
    """Write a file for each table, every other one with a foreign key."""
    (folder / "tenant").mkdir(parents=True)
    for n in range(1, tables + 1):
        parent = f" REFERENCES table_{n - 1:03}" if n % 2 == 0 else ""
        text = FILE.format(n=n, parent=parent) + "".join(
            f"CREATE INDEX ON table_{n:03} ({of});\n" for of in INDEXES[:indexes]
        )
        (folder / f"tenant/{n:04}_table.sql").write_text(text)


async def bare(conn: asyncpg.Connection, snapshot: Snapshot, name: str) -> None:
    """What the server alone needs: the statements of a snapshot, sent at once."""
    await conn.execute(
        f"BEGIN; CREATE SCHEMA {name}; SET LOCAL search_path = {name}; {snapshot.sql(name)}; COMMIT"
    )


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the milliseconds of *work*."""
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


async def main(tables: int, indexes: int, rounds: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tenancy-benchmark-sql-"))
    files(folder, tables, indexes)
    with server() as url:
        logins = await make_logins(url)
        database = await make_database(url, logins)
        settings = database.settings(sql_dir=folder)
        (await migrate.migrate(settings)).raise_for_failures()
        conn = await asyncpg.connect(database.admin_url)
        found: dict[str, list[float]] = {}
        async with provision.administrator(settings) as admin:
            for n in range(5):
                found.setdefault("from the files", []).append(
                    await timed(partial(admin.create, f"replayed-{n}"))
                )
            snapshot = await migrate.snapshot(settings)
            written(snapshot, folder)
            await admin.create("warm")
            for n in range(rounds):
                await rounded(admin, conn, snapshot, found, n)
        print(f"{tables} tables of {indexes + 1} indexes; ms, medians of {rounds} rounds, and p95")
        for name, times in found.items():
            p95 = sorted(times)[int(0.95 * (len(times) - 1))]
            print(f"  {name:32} {statistics.median(times):8.1f} {p95:8.1f}")
        ratio = statistics.median(found["from the snapshot"]) / statistics.median(
            found["the server alone"]
        )
        print(f"  from the snapshot: {ratio:.2f} of the server alone")
        env = environment(settings)
        whole = await timed(lambda: run("-m", "tenancy", "tenants", "create", "acme", env=env))
        print(f"  the whole command                {whole:8.1f}")
        await conn.close()
        await drop_database(url, database)
        await drop_logins(url, logins)
    shutil.rmtree(folder)


async def rounded(
    admin: Administrator,
    conn: asyncpg.Connection,
    snapshot: Snapshot,
    found: dict[str, list[float]],
    n: int,
) -> None:
    """One of each."""
    work: dict[str, Callable[[], Awaitable[object]]] = {
        "the server alone": lambda: bare(conn, snapshot, f"bare_{n}"),
        "from the snapshot": lambda: admin.create(f"built-{n}"),
    }
    for name, operation in work.items():
        found.setdefault(name, []).append(await timed(operation))
    await admin.refill(1)
    found.setdefault("made ahead", []).append(await timed(lambda: admin.create(f"given-{n}")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=30)
    parser.add_argument("--indexes", type=int, default=1, help="of each, beside its key's; 0 to 3")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    asyncio.run(main(given.tables, given.indexes, given.rounds))
