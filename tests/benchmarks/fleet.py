"""The migrator over a fleet: nothing pending, one new file, kill -9. See README.md here."""

import argparse
import asyncio
import contextlib
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import asyncpg
from support.databases import SQL, Database
from support.processes import environment, run
from support.servers import fleet

NEW_FILE = (
    "ALTER TABLE notes ADD pinned boolean NOT NULL DEFAULT false;\nUPDATE notes SET body = body;\n"
)


async def main(tenants: int, kills: int, parallel: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tenancy-benchmark-sql-"))
    shutil.copytree(SQL, folder / "sql")
    started = time.perf_counter()
    async with fleet(tenants) as (database, _):
        print(f"{tenants} tenants made in {time.perf_counter() - started:.0f} s")
        env = environment(database.settings(sql_dir=folder / "sql"))
        print("\nnothing pending, the whole command")
        for _ in range(5):
            await timed(env)
        (folder / "sql" / "tenant" / "0002_pinned.sql").write_text(NEW_FILE)
        print(f"\none file, --parallel {parallel}, killed with kill -9 {kills} times first")
        for _ in range(kills):
            await killed(env, parallel)
            print("  left at once:", await whole(database))
        await timed(env, "--parallel", str(parallel))
        assert await whole(database) == {("0002", True): tenants}
    shutil.rmtree(folder)


async def timed(env: dict[str, str], *options: str) -> None:
    started = time.perf_counter()
    result = await run("-m", "tenancy.migrate", "up", *options, env=env)
    seconds = time.perf_counter() - started
    print(f"  {seconds:6.2f} s  exit {result.code}  {result.out.strip().splitlines()[-1]}")


async def killed(env: dict[str, str], parallel: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tenancy.migrate", "up", "--parallel", str(parallel),
        env=env, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await asyncio.sleep(0.5 + 0.4 * random.random())
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    await asyncio.sleep(1)  # its sessions notice that it is gone


async def whole(database: Database) -> dict[tuple[str, bool], int]:
    """Count the tenants by checkpoint and by whether the column is there; a half-way one raises."""
    conn = await asyncpg.connect(database.superuser_url)
    rows = await conn.fetch(
        "SELECT c.version, a.attname IS NOT NULL AS changed, count(*) AS tenants "
        "FROM tenancy.tenants t JOIN tenancy.checkpoints c ON c.schema_name = t.schema_name "
        "LEFT JOIN pg_class r ON r.relnamespace = c.schema_oid AND r.relname = 'notes' "
        "LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = 'pinned' GROUP BY 1, 2"
    )
    await conn.close()
    counts = {(row["version"], row["changed"]): row["tenants"] for row in rows}
    assert set(counts) <= {("0001", False), ("0002", True)}, counts
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--parallel", type=int, default=4)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.tenants, arguments.kills, arguments.parallel))
