"""A fleet of tenants to migrate: a database, a folder of files, and the command as a process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from click.testing import CliRunner
from pydantic import SecretStr

from support.processes import Result, environment
from tenancy.migrate import Files, Report, load, migrate
from tenancy.migrate.__main__ import migrate_group
from tenancy.settings import Settings

# For `Fleet.until`: somebody in this database is in the middle of `pg_sleep(...)`.
ASLEEP = (
    "SELECT count(*) > 0 FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event = 'PgSleep'"
)
NOTES = (
    "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);"
)


@dataclass(frozen=True)
class Fleet:
    dsn: str
    sql: Path
    written_for: str | None = None

    @property
    def settings(self) -> Settings:
        return Settings(
            database_url=SecretStr(self.dsn), sql_dir=self.sql, sql_written_for=self.written_for
        )

    @property
    def files(self) -> Files:
        return load(self.settings)

    def write(self, name: str, text: str) -> None:
        """Write ``<stage>/<file>`` into the sql directory."""
        path = self.sql / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    async def up(self, **options: object) -> Report:
        return await migrate(self.settings, **options)  # type: ignore[arg-type]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        conn = await asyncpg.connect(self.dsn)
        try:
            yield conn
        finally:
            await conn.close()

    async def fetch(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        async with self.connection() as conn:
            return [tuple(row.values()) for row in await conn.fetch(sql, *args)]

    async def execute(self, sql: str) -> None:
        async with self.connection() as conn:
            await conn.execute(sql)

    async def add(self, *slugs: str, state: str = "active", schema: bool = True) -> list[str]:
        """Register tenants, with an empty schema or none; return the schemas' names."""
        names = [f"t_{slug.replace('-', '_')}" for slug in slugs]
        async with self.connection() as conn, conn.transaction():
            await conn.executemany(
                "INSERT INTO tenancy.tenants (slug, schema_name, state) VALUES ($1, $2, $3)",
                [(slug, name, state) for slug, name in zip(slugs, names, strict=True)],
            )
            if schema:
                await conn.execute("; ".join(f"CREATE SCHEMA {name}" for name in names))
        return names

    async def versions(self) -> dict[str, str | None]:
        """Each tenant's version, by slug."""
        rows = await self.fetch(
            "SELECT t.slug, c.version FROM tenancy.tenants t "
            "LEFT JOIN pg_namespace n ON n.nspname = t.schema_name "
            "LEFT JOIN tenancy.checkpoints c ON c.schema_oid = n.oid ORDER BY 1"
        )
        return {str(slug): None if version is None else str(version) for slug, version in rows}

    async def tables(self, like: str = "t\\_%") -> set[str]:
        """The tables in schemas with names *like* this, as schema.table."""
        rows = await self.fetch(
            "SELECT n.nspname || '.' || c.relname FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND n.nspname LIKE $1",
            like,
        )
        return {str(row[0]) for row in rows}

    async def until(self, condition: str, seconds: float = 20) -> None:
        """Wait until the query *condition* answers true."""
        async with self.connection() as conn, asyncio.timeout(seconds):
            while not await conn.fetchval(condition):  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0.01)

    async def end_sessions(self, of: str) -> None:
        """Terminate this database's sessions that the condition *of* finds in pg_stat_activity."""
        await self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND ({of})"
        )

    # The command

    async def start(self, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tenancy.migrate", *arguments),
            env=environment(self.settings, COLUMNS="200", **variables),
            cwd=self.sql,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def command(self, *arguments: str) -> Result:
        return await ended(await self.start(*arguments))

    async def asked(self, *arguments: str, **variables: str) -> Result:
        """Run a command that listens to no signal: in a thread, which is quicker than a process."""
        env = environment(self.settings, **variables)
        done = await asyncio.to_thread(CliRunner().invoke, migrate_group, arguments, env=env)
        return Result(done.exit_code, done.stdout, done.stderr)


async def ended(process: asyncio.subprocess.Process) -> Result:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


async def kill(process: asyncio.subprocess.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)
    await process.communicate()
