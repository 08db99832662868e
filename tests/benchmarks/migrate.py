"""The migrator beside psql, Alembic and django-tenants: the same files, tenants and workers.

    python tests/benchmarks/migrate.py                    60 tenants, 12 files; a minute or two
    python tests/benchmarks/migrate.py --tenants 500 --files 30 --rounds 5 --against psql
    python tests/benchmarks/migrate.py --tenants 200 --files 30 --slow-rounds 1

Every way starts from a copy of one database, in which each tenant has an empty schema, and is timed
as a user would: from the start of its first process to the end of its last. The ways take turns.

* psql: as many shell loops as workers, each feeding one long psql session with BEGIN, the path, the
  file, a row for a ledger and COMMIT. Nothing is checked: this is the ceiling.
* psql each: the same, but with a psql of its own for each tenant.
* alembic: ``alembic upgrade head`` for one schema after the other, as its cookbook has it; alembic
  loop: the same in one process. Files as `op.create_table` and so on, in a transaction each.
* django: ``migrate_schemas --executor=multiprocessing`` with as many processes as workers.

The last two are installed into a virtual environment in a temporary directory.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import asyncpg
from rivals import Rivals
from support import crowds, histories
from support.databases import (
    Database,
    Logins,
    drop_database,
    drop_logins,
    make_database,
    make_logins,
    superuser,
)
from support.processes import environment
from support.servers import server

from tenancy import migrate
from tenancy.embedded import binaries

Way = Callable[[Database], Awaitable[None]]

# $1: the address; $2: a file with the schemas; the rest: the files.
_FEED = """
address=$1 schemas=$2; shift 2
while read -r schema; do
    for file; do
        printf 'BEGIN;\\nSET LOCAL search_path = %s;\\n\\\\i %s\\n' "$schema" "$file"
        printf "INSERT INTO public.ledger VALUES ('%s', '%s');\\nCOMMIT;\\n" "$schema" "$file"
    done
done <"$schemas" | "$PSQL" -Xq -v ON_ERROR_STOP=1 -d "$address"
"""
_FEED_EACH = """
address=$1 schemas=$2; shift 2
while read -r schema; do
    for file; do
        printf 'BEGIN;\\nSET LOCAL search_path = %s;\\n\\\\i %s\\n' "$schema" "$file"
        printf "INSERT INTO public.ledger VALUES ('%s', '%s');\\nCOMMIT;\\n" "$schema" "$file"
    done | "$PSQL" -Xq -v ON_ERROR_STOP=1 -d "$address" || exit 1
done <"$schemas"
"""


class Course:
    """What all ways run over: a database to copy, a folder of files, and so many workers."""

    def __init__(self, folder: Path, url: str, logins: Logins, template: Database) -> None:
        self.folder = folder
        self.url = url
        self.logins = logins
        self.template = template

    async def timed(self, way: Way) -> tuple[float, float]:
        """Seconds, and processor seconds of what is not the server, of *way* on a fresh copy."""
        database = await make_database(self.url, self.logins, self.template.name)
        try:
            async with superuser(self.url) as conn:
                await conn.execute("CHECKPOINT")
            cpu = os.times()
            started = time.perf_counter()
            await way(database)
            seconds = time.perf_counter() - started
            after = os.times()
            used = sum(after[:4]) - sum(cpu[:4])
            await self.check(database)
        finally:
            await drop_database(self.url, database)
        return seconds, used

    async def check(self, database: Database) -> None:
        """Every tenant has all tables and columns."""
        async with superuser(database.superuser_url) as conn:
            found = await conn.fetch(
                "SELECT count(*) FILTER (WHERE c.relkind = 'r') AS tables,"
                " count(*) FILTER (WHERE c.relname LIKE 'things\\_%\\_created_at%') AS indexes"
                " FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid"
                " AND c.relname LIKE 'things%' WHERE n.nspname LIKE 't\\_tenant%' GROUP BY n.oid"
            )
        files = len(list((self.folder / "sql" / "tenant").iterdir()))
        expected = {(-(-files // 3), (files + 1) // 3)}
        assert {tuple(row.values()) for row in found} == expected, found[:3]


async def main(options: argparse.Namespace) -> None:
    # An installed package has its bytecode, which is a third of its start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    folder = Path(tempfile.mkdtemp(prefix="tenancy-benchmark-migrate-"))
    folder.chmod(0o755)
    paths = histories.write(folder / "sql", options.files, references=options.references)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        url = stack.enter_context(server())
        logins = await make_logins(url)
        stack.push_async_callback(drop_logins, url, logins)
        template = await make_database(url, logins)
        stack.push_async_callback(drop_database, url, template)
        await _prepared(template, folder, options.tenants)
        course = Course(folder, url, logins, template)
        ways: dict[str, Way] = {"tenancy": _ours(folder, options.parallel)}
        if "psql" in options.against:
            ways["psql"] = _shell(_FEED, paths, folder, options)
            ways["psql each"] = _shell(_FEED_EACH, paths, folder, options)
        if {"alembic", "django"} & {*options.against}:
            rivals = Rivals(
                folder / "rivals",
                *(options.files, options.parallel, options.tenants),
                references=options.references,
            )
            await rivals.install()
            await rivals.prepare(template)
            ways |= {n: w for n, w in rivals.ways().items() if n.split()[0] in options.against}
        await _compare(course, ways, options)


async def _prepared(template: Database, folder: Path, tenants: int) -> None:
    (folder / "before" / "tenant").mkdir(parents=True)
    settings = template.settings(sql_dir=folder / "before")
    (await migrate.migrate(settings)).raise_for_failures()
    await crowds.make(template, tenants)
    conn = await asyncpg.connect(template.admin_url)
    await conn.execute("CREATE TABLE public.ledger (schema text, file text, at timestamptz DEFAULT"
                       " clock_timestamp(), PRIMARY KEY (schema, file))")  # fmt: skip
    await conn.close()


def _ours(folder: Path, parallel: int) -> Way:
    async def way(database: Database) -> None:
        env = environment(database.settings(sql_dir=folder / "sql"))
        arguments = ("-m", "tenancy.migrate", "up", "--parallel", str(parallel))
        await run(sys.executable, *arguments, env=env)

    return way


def _shell(script: str, paths: list[Path], folder: Path, options: argparse.Namespace) -> Way:
    psql = str(_psql())
    schemas = [f"t_tenant_{number}" for number in range(1, options.tenants + 1)]
    shares = []
    for hand in range(options.parallel):
        share = folder / f"schemas-{hand}"
        share.write_text("".join(f"{name}\n" for name in schemas[hand :: options.parallel]))
        shares.append(share)

    async def way(database: Database) -> None:
        env = {**os.environ, "PSQL": psql, "PGOPTIONS": "-c client_min_messages=warning"}
        commands = (
            ("/bin/sh", "-c", script, "sh", database.admin_url, str(share), *map(str, paths))
            for share in shares
        )
        await asyncio.gather(*(run(*command, env=env) for command in commands))

    return way


def _psql() -> Path:
    found = [place / "psql" for place in (*binaries.wheel(), *binaries.system())]
    return next(path for path in found if path.is_file())


async def run(*command: str, env: dict[str, str], cwd: Path | None = None) -> None:
    """Run *command* to a good end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{command[:4]} ended with {process.returncode}:\n{out.decode()[-2000:]}")


async def _compare(course: Course, ways: dict[str, Way], options: argparse.Namespace) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    slow = {name for name in ways if name.split()[0] in {"alembic", "django"}}
    for number in range(options.rounds):
        for name in sorted(ways, key=lambda _: os.urandom(1)):
            if name in slow and number >= options.slow_rounds:
                continue
            took, used = await course.timed(ways[name])
            seconds[name].append(took)
            cpu[name].append(used)
    files = options.files * options.tenants
    print(
        f"{options.tenants} tenants x {options.files} files, {options.parallel} workers, medians of"
        f" {options.rounds} rounds; load average {os.getloadavg()[0]:.1f}"
    )
    print(f"  {'':14} {'s':>8} {'ms a file':>10} {'client CPU ms':>14} {'tenancy takes':>14}")
    ours = statistics.median(seconds["tenancy"])
    for name in ways:
        median = statistics.median(seconds[name])
        used = statistics.median(cpu[name])
        print(
            f"  {name:14} {median:8.2f} {median / files * 1000:10.2f} {used / files * 1000:14.2f}"
            f" {ours / median:13.2f}x  (speed {median / ours:.2f})"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=60)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1, help="of Alembic and Django")
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument(
        "--no-references",
        dest="references",
        action="store_false",
        help="no foreign keys: django keeps all models that refer to each other at hand",
    )
    parser.add_argument("--against", nargs="*", default=["psql", "alembic", "django"])
    asyncio.run(main(parser.parse_args()))
