"""Schemas for a while: made, filled from the files, looked at, and dropped whatever happens.

The session that made one holds its lock. So one whose lock is free was left behind, by a process or
a server that was killed, and the next who makes one drops it.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tenancy.errors import DatabaseSetupError
from tenancy.identifiers import quoted
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.upgrade import lock, runner, script
from tenancy.migrate.upgrade.inside import inside
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

PREFIX = "tenancy_scratch_"
DROP_LOCK_TIMEOUT_MILLISECONDS = 30_000

_log = logging.getLogger(__name__)

_LEFT = """
    SELECT oid, nspname::text AS name FROM pg_catalog.pg_namespace AS n
    WHERE nspname ^@ $1 AND pg_catalog.pg_has_role(nspowner, 'USAGE')
      AND NOT EXISTS (  -- those of this session, which could take its own lock again
          SELECT FROM pg_catalog.pg_locks AS l
          WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid()
            AND l.classid = $2 AND l.objid = n.oid)
"""
_LEDGER = ("migrations", "checkpoints", "steps", "backfills", "failures", "reversals")


@asynccontextmanager
async def scratch(session: Session) -> AsyncIterator[SchemaRef]:
    """Yield a new empty schema with an unguessable name, which *session* owns; drop it at the end.

    Raises:
        DatabaseSetupError: the login may not create schemas.
    """
    conn = await session.connection()
    await sweep(conn)
    schema = await _made(conn, session.settings)
    try:
        yield schema
    finally:
        await asyncio.shield(asyncio.create_task(_dropped(session.settings, schema)))


async def replay(
    session: Session, schema: SchemaRef, migrations: tuple[Migration, ...], *, shared: str
) -> None:
    """Apply *migrations* to the scratch *schema*, each in its own transaction, as to a tenant's.

    Raises:
        MigrationFileError: a file holds what cannot be in a transaction.
        MigrationFailedError: a file failed.
    """
    conn = await session.connection()
    for migration in map(inside, migrations):
        try:
            async with conn.transaction():
                await runner.apply(conn, schema, migration, None, shared=shared)
        except asyncpg.PostgresError as error:  # at COMMIT
            raise MigrationFailedError(script.failed(migration, error)) from error
        await session.forget()


async def sweep(conn: asyncpg.Connection) -> None:
    """Drop the scratch schemas that nobody works with any more."""
    for row in await conn.fetch(_LEFT, PREFIX, lock.CLASS):
        with contextlib.suppress(LockHeldError, asyncpg.InvalidSchemaNameError):
            async with conn.transaction():
                await lock.claim(conn, row["oid"])
                await _drop(conn, SchemaRef(row["oid"], row["name"]))


async def _made(conn: asyncpg.Connection, settings: Settings) -> SchemaRef:
    name = PREFIX + secrets.token_hex(8)
    try:
        async with conn.transaction():
            await conn.execute(f"CREATE SCHEMA {quoted(name)}")
            oid = await conn.fetchval(
                "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1", name
            )
            await lock.take(conn, oid)  # before others see it
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseSetupError(
            "the login may not create a schema to try the files in: "
            + (
                settings.unset_owner
                or "as the database's owner, run GRANT CREATE ON DATABASE <database> TO <login>"
            )
        ) from error
    return SchemaRef(oid, name)


async def _dropped(settings: Settings, schema: SchemaRef) -> None:
    """Drop *schema* on a connection of its own: the one that filled it may be in any state."""
    try:
        async with Session(settings) as session:
            conn = await session.connection()
            async with conn.transaction():
                await _drop(conn, schema)
    except Exception as error:  # noqa: BLE001 - what ended the block matters more
        _log.warning("a scratch schema is left; the next run drops it (%s)", type(error).__name__)


async def _drop(conn: asyncpg.Connection, schema: SchemaRef) -> None:
    await conn.execute(f"SET LOCAL lock_timeout = {DROP_LOCK_TIMEOUT_MILLISECONDS:d}")
    await conn.execute(f"DROP SCHEMA {quoted(schema.name)} CASCADE")
    for table in _LEDGER:
        await conn.execute(f"DELETE FROM tenancy.{table} WHERE schema_oid = $1", schema.oid)
