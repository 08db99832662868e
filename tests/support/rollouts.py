"""A rollout to a fleet that is being served meanwhile."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support import crowds
from support.databases import SQL, Database, superuser
from support.fleets import Fleet, kill
from support.processes import Result, Served, environment, hypercorn, run
from support.traffic import Answers, Traffic
from tenancy import Settings, migrate, provision

FILES = {
    "0101_pinned.sql": (
        "ALTER TABLE notes ADD COLUMN pinned boolean NOT NULL DEFAULT false;\n"
        "ALTER TABLE notes ADD COLUMN words int;\n"
    ),
    "0102_by_time.sql": (
        "-- migrate:up transaction:false\n"
        "CREATE INDEX CONCURRENTLY notes_created_at ON notes (created_at);\n"
    ),
    "0103_words.py": (
        "# migrate:up transaction:false\n\n\n"
        "async def up(context):\n"
        "    async for batch in context.batches('notes', size=50):\n"
        "        await batch.conn.execute(\n"
        "            'UPDATE notes SET words = cardinality(string_to_array(body, $2)) '\n"
        "            'WHERE id = ANY($1)', batch.keys, ' ')\n"
    ),
    "0104_checked.sql": (
        "ALTER TABLE notes ADD CONSTRAINT notes_words CHECK (words >= 0) NOT VALID;\n"
        "ALTER TABLE notes VALIDATE CONSTRAINT notes_words;\n"
    ),
    "0105_length.sql": "ALTER TABLE notes ALTER COLUMN body TYPE varchar(20000);\n",
}


@dataclass(frozen=True)
class Rollout:
    """What came of it.

    Attributes:
        quiet: requests while nothing else went on.
        during: requests from the start of the migrator's process to its end.
        result: of that process.
    """

    quiet: Answers
    during: Answers
    result: Result

    @property
    def ratio(self) -> float:
        """The 99th percentile during the rollout, as a multiple of the quiet one."""
        return self.during.percentile(0.99) / self.quiet.percentile(0.99)


async def settle(database: Database, folder: Path, tenants: int, notes: int) -> Settings:
    """Make *tenants* tenants of the demo with *notes* notes each, as the demo's files stand."""
    shutil.copytree(SQL, folder / "sql")
    settings = database.settings(sql_dir=folder / "sql")
    (await migrate.migrate(settings)).raise_for_failures()
    await crowds.make(database, tenants, settings=settings)
    async with superuser(database.superuser_url) as conn:
        for number in range(1, tenants + 1):
            await conn.execute(
                f"INSERT INTO t_tenant_{number}.notes (body) "
                f"SELECT 'tenant-{number}: old ' || n || repeat(' word', n % 50) "
                f"FROM generate_series(1, {notes}) AS n"
            )
    async with provision.administrator(settings) as admin:
        await admin.grant()
    return settings


async def rolled_out(
    settings: Settings,
    traffic_of: Callable[[int], Traffic],
    quiet_seconds: float,
    *options: str,
    killed_at: int | None = None,
) -> tuple[Rollout, Traffic]:
    """Serve quietly for a while, then while the migrator applies `FILES` to all tenants.

    Where *killed_at* is given a first run is killed with kill -9 once it has applied so many files.
    """
    async with _serving(settings) as server:
        traffic = traffic_of(server.port)
        running = asyncio.create_task(traffic.run())
        await asyncio.sleep(quiet_seconds / 2)  # connections and caches
        quiet = traffic.begin()
        await asyncio.sleep(quiet_seconds)
        assert settings.sql_dir is not None
        for name, text in FILES.items():
            (settings.sql_dir / "tenant" / name).write_text(text)
        during = traffic.begin()
        if killed_at is not None:
            await _killed(settings, killed_at, *options)
        result = await run(
            *("-m", "tenancy.migrate", "up", *options), env=environment(settings), seconds=3600
        )
        traffic.begin()
        await asyncio.sleep(0.5)
        traffic.stop()
        await running
    return Rollout(quiet, during, result), traffic


async def _killed(settings: Settings, files: int, *options: str) -> None:
    fleet = Fleet(settings.admin_dsn, settings.sql_dir or Path())
    count = "SELECT count(*) >= {} FROM tenancy.migrations"
    before = (await fleet.fetch("SELECT count(*) FROM tenancy.migrations"))[0][0]
    process = await fleet.start("up", *options)
    await fleet.until(count.format(before + files), seconds=300)
    await kill(process)


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[Served]:
    # As in config/hypercorn.toml: an idle connection is the client's to close.
    options = ("--workers", "2", "--keep-alive", "75")
    env = environment(settings)
    async with hypercorn(*options, "tenancy.demo:create_app()", env=env) as server:
        yield server
