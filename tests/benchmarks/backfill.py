"""A backfill in one large tenant, against the same batches as SQL fed to psql."""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import psutil
from pydantic import SecretStr
from support.databases import Database, make_database, make_logins, superuser
from support.processes import environment
from support.servers import server

from tenancy import Settings, migrate

TABLE = """
    DROP TABLE IF EXISTS t_acme.words;
    CREATE TABLE t_acme.words (id bigint PRIMARY KEY, body text NOT NULL, slug text);
    INSERT INTO t_acme.words SELECT n, 'Some Words on ' || n FROM generate_series(1, {rows}) AS n;
    VACUUM ANALYZE t_acme.words
"""
SET = "UPDATE words SET slug = lower(replace(body, ' ', '-'))"
FILE = f"""# migrate:up transaction:false

async def up(context):
    async for batch in context.batches("words", rest=0{{size}}):
        await batch.conn.execute("{SET} WHERE {{these}}", {{arguments}})
"""
BY_KEYS = ("id = ANY($1::bigint[])", "batch.keys")
BY_RANGE = ("id BETWEEN $1 AND $2", "batch.first, batch.last")
SIZE = 10_000


async def main(rows: int, rounds: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tenancy-benchmark-sql-"))
    (folder / "tenant").mkdir()
    with server() as url:
        database = await make_database(url, await make_logins(url))
        settings = Settings(database_url=SecretStr(database.admin_url), sql_dir=folder)
        (await migrate.migrate(settings)).raise_for_failures()
        await execute(
            database,
            "INSERT INTO tenancy.tenants (slug, schema_name, state) "
            "VALUES ('acme', 't_acme', 'active'); CREATE SCHEMA t_acme",
        )
        versions = iter(range(1, 1000))

        def file(size: str, how: tuple[str, str]) -> Callable[[], Awaitable[None]]:
            async def timed() -> None:
                text = FILE.format(size=size, these=how[0], arguments=how[1])
                (folder / "tenant" / f"{next(versions):04}_slugs.py").write_text(text)
                await up(settings)

            return timed

        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            f"psql, {SIZE:,} at a time": lambda: psql(database, rows),
            f"keys, {SIZE:,} at a time": file(f", size={SIZE}", BY_KEYS),
            f"range, {SIZE:,} at a time": file(f", size={SIZE}", BY_RANGE),
            "keys, as many as take 0.5 s": file("", BY_KEYS),
        }
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, timed in kinds.items():
                for statement in TABLE.format(rows=rows).split(";"):
                    await execute(database, statement)
                started = time.perf_counter()
                await timed()
                found[kind].append(time.perf_counter() - started)
                assert not await execute(
                    database, "SELECT count(*) FROM t_acme.words WHERE slug IS NULL"
                )
        for kind, seconds in found.items():
            median = statistics.median(seconds)
            print(f"  {kind:30} {median:6.2f} s  {rows / median:9,.0f} rows/s")


async def execute(database: Database, sql: str) -> int | None:
    async with superuser(database.admin_url) as conn:
        return (
            await conn.fetchval(sql)
            if sql.startswith("SELECT")
            else await conn.execute(sql) and None
        )


async def psql(database: Database, rows: int) -> None:
    batches = (
        f"{SET} WHERE id > {start} AND id <= {start + SIZE};" for start in range(0, rows, SIZE)
    )
    text = "\n".join(["SET search_path = t_acme;", *batches])
    process = await asyncio.create_subprocess_exec(
        *("psql", "-qXv", "ON_ERROR_STOP=1", database.admin_url), stdin=asyncio.subprocess.PIPE
    )
    await process.communicate(text.encode())
    assert process.returncode == 0


async def up(settings: Settings) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tenancy.migrate", "up"),
        env=environment(settings),
        stdout=asyncio.subprocess.DEVNULL,
    )
    memory = asyncio.create_task(resident(process.pid))
    code = await process.wait()
    memory.cancel()
    assert code == 0
    print(
        "     ", " ".join(f"{size:.0f}" for size in seen[:: max(1, len(seen) // 8)]), "MB resident"
    )
    seen.clear()


seen: list[float] = []


async def resident(pid: int) -> None:
    process = psutil.Process(pid)
    while True:
        await asyncio.sleep(0.2)
        seen.append(process.memory_info().rss / 2**20)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rows, arguments.rounds))
