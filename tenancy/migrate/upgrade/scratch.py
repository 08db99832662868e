"""Schemas for a while: made, filled from the files, looked at, and dropped whatever happens.

The session that made one holds its lock. So one whose lock is free was left behind, by a process or
a server that was killed, and the next who makes one drops it. One that has become a tenant's stays.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.identifiers import CATALOG_SCHEMA, constant, literal, quoted
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import checkpoints, mends
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.upgrade import elsewhere, lock, runner, script
from tenancy.migrate.upgrade.inside import inside
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import Session, unprivileged
from tenancy.settings import Settings

PREFIX = "tenancy_scratch_"
MARK = "tenancy scratch"  # in front of the stamp in its comment
DROP_LOCK_TIMEOUT_MILLISECONDS = 30_000

_log = logging.getLogger(__name__)

_LEFT = """
    SELECT n.oid, n.nspname::text AS name FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_description AS d
        ON d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.objoid = n.oid
    WHERE starts_with(d.description, $1) AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')
      AND NOT EXISTS (  -- those of this session, which could take its own lock again
          SELECT FROM pg_catalog.pg_locks AS l
          WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid()
            AND l.classid = $2 AND l.objid = n.oid)
"""

READY_PREFIX = "t_ready_"  # of those that are made ahead of tenants

_KEEPING = "SELECT pg_catalog.pg_advisory_xact_lock($1::int, $2::int)"
_TENANTS = "SELECT true FROM tenancy.tenants WHERE schema_name = $1"
_OR_READY = "UNION ALL SELECT true FROM tenancy.ready_schemas WHERE schema_name = $1"
_NAMED = "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1"


@asynccontextmanager
async def scratch(session: Session, name: str = "") -> AsyncIterator[SchemaRef]:
    """Yield a new empty schema whose lock *session* holds; drop it at the end.

    Args:
        session: on no other schema.
        name: of ours; left out: one that nobody can guess.

    Raises:
        DatabaseSetupError: the login may not create schemas.
    """
    conn = await session.connection()
    await sweep(conn)
    schema = await _made(conn, session.settings, name or PREFIX + secrets.token_hex(8))
    try:
        yield schema
    finally:
        await asyncio.shield(asyncio.create_task(_dropped(session.settings, schema)))


async def replay(
    session: Session,
    schema: SchemaRef,
    migrations: tuple[Migration, ...],
    *,
    shared: str,
    stays: bool = False,
) -> None:
    """Apply *migrations* to the scratch *schema*, each in its own transaction, as to a tenant's.

    Args:
        session: on no other schema.
        schema: a scratch schema.
        migrations: what it is to have.
        shared: the shared schema's name.
        stays: it is to be a tenant's: what a file changes in other schemas is as it should be.

    Raises:
        MigrationFileError: a file holds what cannot be in a transaction.
        MigrationFailedError: a file failed.
        MigrationRefusedError: a file changes rows of other schemas, which would stay.
    """
    conn = await session.connection()
    for migration in map(inside, migrations):
        try:
            async with conn.transaction():
                await runner.apply(conn, schema, migration, None, shared=shared)
                if not stays:
                    await _refuse_outside(conn, schema, migration)
        except asyncpg.PostgresError as error:  # at COMMIT
            raise MigrationFailedError(script.failed(migration, error)) from error
        await session.forget()


@asynccontextmanager
async def replayed(
    settings: Settings, migrations: tuple[Migration, ...]
) -> AsyncIterator[tuple[Session, SchemaRef]]:
    """Yield a scratch schema that *migrations* were applied to, and the session that has it."""
    async with Session(settings) as session, scratch(session) as schema:
        await replay(session, schema, migrations, shared=settings.shared_schema)
        yield session, schema


async def _refuse_outside(
    conn: asyncpg.Connection, schema: SchemaRef, migration: Migration
) -> None:
    # The ledger's rows do not count.
    if outside := await elsewhere.changed(conn, [schema.name, CATALOG_SCHEMA], rows=True):
        raise MigrationRefusedError(
            f"{migration.label}: changes rows of {outside}, which would stay when the schema that "
            "the files are tried in is dropped"
        )


async def keep(conn: asyncpg.Connection, schema: SchemaRef) -> None:
    """Let the scratch *schema* be an ordinary one, in the transaction that makes it somebody's.

    Who would drop it waits for that transaction's end, however that comes, and looks again.
    """
    await conn.execute(_KEEPING, lock.KEEP_CLASS, lock.key(schema.oid))
    comment = (await checkpoints.facts(conn, schema)).comment
    words = constant(comment.removeprefix(MARK).lstrip("\n"))
    await conn.execute(f"COMMENT ON SCHEMA {quoted(schema.name)} IS {words}")


async def sweep(conn: asyncpg.Connection) -> None:
    """Drop the scratch schemas that nobody works with any more."""
    for row in await conn.fetch(_LEFT, MARK, lock.CLASS):
        with contextlib.suppress(LockHeldError, asyncpg.InvalidSchemaNameError):
            async with conn.transaction():
                await lock.claim(conn, row["oid"])
                await _drop(conn, SchemaRef(row["oid"], row["name"]))


async def _made(conn: asyncpg.Connection, settings: Settings, name: str) -> SchemaRef:
    try:
        async with conn.transaction():
            await conn.execute(f"CREATE SCHEMA {quoted(name)}")
            await conn.execute(f"COMMENT ON SCHEMA {quoted(name)} IS {literal(MARK)}")
            oid = await conn.fetchval(_NAMED, name)
            await lock.take(conn, oid)  # before others see it
    except asyncpg.InsufficientPrivilegeError as error:
        raise unprivileged(settings, "a schema to try the files in") from error
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
    await conn.execute(_KEEPING, lock.KEEP_CLASS, lock.key(schema.oid))
    kept = _TENANTS if not schema.name.startswith(READY_PREFIX) else f"{_TENANTS} {_OR_READY}"
    if await conn.fetchval(kept, schema.name):
        return
    # A new schema of that name, which somebody else made, is not ours.
    if await conn.fetchval(_NAMED, schema.name) != schema.oid:
        return
    await conn.execute(f"DROP SCHEMA {quoted(schema.name)} CASCADE")
    await mends.forget(conn, [schema.oid])
