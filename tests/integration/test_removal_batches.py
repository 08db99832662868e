"""A purge fits a server with hardly any room for locks, and is killed in the middle of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from support import lives
from support.databases import (
    Database,
    drop_database,
    drop_logins,
    make_database,
    make_logins,
)
from support.fleets import kill
from support.processes import environment, run, started

from tenancy import embedded, migrate, provision
from tenancy.errors import DatabaseSetupError, UnknownTenantError
from tenancy.provision import Administrator

pytestmark = pytest.mark.timeout(1200)

TABLES = 200
PURGE = ("-m", "tenancy", "tenants", "purge", "initech", "--early", "--yes")


@pytest.fixture(scope="module")
def tight_url(scratch: Path) -> Iterator[str]:
    """A server whose lock table has room for a few hundred locks."""
    options = {"max_connections": "20", "max_locks_per_transaction": "10"}
    running = embedded.start(scratch / "tight", options=options)
    yield running.url("postgres", "postgres")
    running.stop()


@pytest.fixture
async def tight(tight_url: str) -> AsyncIterator[Database]:
    """A migrated database on it, with the tenant globex."""
    logins = await make_logins(tight_url)
    database = await make_database(tight_url, logins)
    (await migrate.migrate(database.settings())).raise_for_failures()
    async with provision.administrator(database.settings()) as admin:
        await admin.create("globex")
    yield database
    await drop_database(tight_url, database)
    await drop_logins(tight_url, logins)


async def _with_tables(admin: Administrator, tables: int, more: str = "") -> str:
    """Make initech with so many tables, each of which refers to the one before; delete it."""
    schema = (await admin.create("initech")).tenant.schema
    for first in range(0, tables, 20):
        await lives.furnish(
            admin,
            schema,
            "; ".join(
                f"CREATE TABLE table_{n} (id serial PRIMARY KEY, body text{more}, "
                f"previous int REFERENCES table_{max(0, n - 1)})"
                for n in range(first, min(first + 20, tables))
            ),
        )
    await admin.delete("initech")
    return schema


async def test_a_purge_takes_few_locks_at_a_time(tight: Database) -> None:
    before = await lives.traces(tight)
    async with provision.administrator(tight.settings()) as admin:
        schema = await _with_tables(admin, TABLES)
        defaults = ", ".join(f"column_{n} int DEFAULT 1" for n in range(900))
        for number in range(4):  # of which two together would not fit
            await lives.furnish(admin, schema, f"CREATE TABLE wide_{number} ({defaults})")
        with pytest.raises(asyncpg.OutOfMemoryError):
            await admin.connection.execute(f"DROP SCHEMA {schema} CASCADE")
        failed: list[str] = []  # a batch that does not fit is made smaller, but others suffer, too
        admin.connection.add_query_logger(
            lambda of: failed.append(of.query) if of.exception else None
        )
        await admin.purge("initech", early=True)
        assert not failed
    assert await lives.traces(tight) == before


async def test_one_object_that_does_not_fit_is_named(tight: Database) -> None:
    async with provision.administrator(tight.settings()) as admin:
        schema = (await admin.create("initech")).tenant.schema
        columns = [f"column_{n}" for n in range(1500)]  # each default is an object to be dropped
        wide = ", ".join(f"{name} int DEFAULT 1" for name in columns)
        await lives.furnish(admin, schema, f"CREATE TABLE wide ({wide})")
        await admin.delete("initech")
        with pytest.raises(DatabaseSetupError, match=r"wide.*max_locks_per_transaction"):
            await admin.purge("initech", early=True)
        for first in range(0, len(columns), 100):
            without = ", ".join(f"ALTER {name} DROP DEFAULT" for name in columns[first:][:100])
            await admin.connection.execute(f"ALTER TABLE {schema}.wide {without}")
        await admin.purge("initech", early=True)


async def test_a_purge_killed_again_and_again_comes_to_its_end(tight: Database) -> None:
    before = await lives.traces(tight)
    async with provision.administrator(tight.settings()) as admin:
        schema = await _with_tables(admin, TABLES)
        count = f"SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'"
        left = await admin.connection.fetchval(count)
        kills = 0
        while kills < 2:
            process = await started(*PURGE, env=environment(tight.settings()))
            async with asyncio.timeout(60):
                while await admin.connection.fetchval(count) > left - TABLES // 8:
                    assert process.returncode is None
                    await asyncio.sleep(0.005)
            await kill(process)
            kills += 1
            left = await admin.connection.fetchval(count)
            assert (await admin.show("initech")).tenant.schema == schema
        result = await run(*PURGE, env=environment(tight.settings()))
        assert (result.code, result.out) == (0, "initech is purged\n"), result.err
    assert await lives.traces(tight) == before


async def test_ten_thousand_tables_are_purged(database: Database, long: bool) -> None:
    """In its short form a thousand; the time is printed."""
    before = await lives.traces(database)
    tables = 10_000 if long else 300
    async with provision.administrator(database.settings()) as admin:
        await _with_tables(
            admin, tables, ", language text REFERENCES shared.languages" if long else ""
        )
        begun = time.perf_counter()
        await admin.purge("initech", early=True)
        print(f"{tables} tables purged in {time.perf_counter() - begun:.1f} s")
        with pytest.raises(UnknownTenantError):
            await admin.show("initech")
    assert await lives.traces(database) == before
