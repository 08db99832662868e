"""Who holds the migrator's locks, and how to end one that has been left behind."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from tenancy.errors import MigrationError, MigrationRefusedError
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.session import APPLICATION_NAME, Session
from tenancy.settings import Settings

GONE_SECONDS = 10.0

# Of this database, and of nobody but a migrator: a name that a client gives itself, so this keeps
# from ending the wrong session by mistake, not from anybody's intent.
_OURS = "a.application_name = $1 AND a.datname = current_database() AND a.pid <> pg_backend_pid()"

_HOLDERS = f"""
    SELECT l.objid::bigint AS key, n.nspname::text AS schema, t.slug, l.pid, a.application_name,
           a.backend_start, a.state, {_OURS} AS ours
    FROM pg_catalog.pg_locks AS l
    LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = l.objid
    LEFT JOIN {{tenants}} AS t ON t.schema_name = n.nspname
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted AND l.classid = $2
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    ORDER BY l.objid, l.pid
"""
_NO_TENANTS = "(SELECT NULL::text AS slug, NULL::text AS schema_name)"
_NAMES = {lock.RUN: "the run", lock.BOOTSTRAP: "the making of the catalog"}


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that holds one of the migrator's locks.

    Attributes:
        what: the run, or a tenant with its schema.
        process: of the server.
        since: when it connected; None: this login may not see it.
        state: what the server says of the session.
        ours: whether it is a migrator's.
    """

    what: str
    process: int
    application: str
    since: datetime | None
    state: str
    ours: bool


async def holders(settings: Settings) -> list[Holder]:
    """Return who holds a lock of the migrator's in this database; changes nothing.

    Raises:
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: as `migrate`.
    """

    async def look(conn: asyncpg.Connection) -> list[Holder]:
        known = await conn.fetchval("SELECT pg_catalog.to_regclass('tenancy.tenants') IS NOT NULL")
        query = _HOLDERS.format(tenants="tenancy.tenants" if known else _NO_TENANTS)
        rows = await conn.fetch(query, APPLICATION_NAME, lock.CLASS)
        return [_holder(row) for row in rows]

    async with Session(settings) as session:
        return await session.query(look)


async def terminate(settings: Settings, process: int) -> None:
    """End the server process *process*, if it is a migrator's in this database, and wait for that.

    What it has not committed is rolled back.

    Raises:
        MigrationRefusedError: it is no migrator's, or there is no such process.
        MigrationError: it did not end.
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: as `migrate`.
    """
    async with Session(settings) as session:
        conn = await session.connection()
        # Looked at and ended in one statement: a process id may be somebody else's soon.
        ended = await conn.fetchval(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) "
            f"FROM pg_catalog.pg_stat_activity AS a WHERE {_OURS} AND a.pid = $2",
            APPLICATION_NAME,
            process,
        )
        if ended is None:
            raise MigrationRefusedError(
                f"server process {process} is no migrator's in this database: left alone"
            )
        try:
            async with asyncio.timeout(GONE_SECONDS):
                while await conn.fetchval(  # noqa: ASYNC110 - the server sets no event
                    "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE pid = $1", process
                ):
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise MigrationError(
                f"server process {process} was told to end {GONE_SECONDS:g} s ago and has not"
            ) from error


def _holder(row: asyncpg.Record) -> Holder:
    schema = row["schema"] or f"a schema that is gone (oid {row['key']})"
    tenant = f"{row['slug']} ({schema})" if row["slug"] else schema
    return Holder(
        _NAMES.get(row["key"], tenant),
        row["pid"],
        row["application_name"] or "",
        row["backend_start"],
        row["state"] or "",
        bool(row["ours"]),
    )
