"""A new schema on its way from nothing to the target, in one transaction of the caller's."""

import secrets
from uuid import UUID

import asyncpg

from tenancy.identifiers import literal, quoted
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import baselines
from tenancy.migrate.ledger.records import Baseline, SchemaRef
from tenancy.migrate.shape.snapshot import Snapshot
from tenancy.migrate.upgrade import lock, runner, script
from tenancy.migrate.upgrade.inside import inside
from tenancy.migrate.upgrade.script import MigrationFailedError

POUR_SECONDS = 600.0

# What COMMIT would do after each file: without it the next one's ALTER TABLE would find "pending
# trigger events". Those that a file has made IMMEDIATE for itself stay what they are.
_DEFERRED = """
    SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%I.%I', $2::text, conname), ', ')
    FROM pg_catalog.pg_constraint WHERE connamespace = $1 AND condeferred
"""
_GUARD = "SELECT current_setting('tenancy.scope', true), current_setting('search_path')"


async def fill(  # noqa: PLR0913 - what is to be done, then how, by name
    conn: asyncpg.Connection,
    schema: SchemaRef,
    migrations: tuple[Migration, ...],
    run_id: UUID | None = None,
    *,
    shared: str,
    snapshot: Snapshot | None = None,
) -> None:
    """Bring the empty *schema* to the end of *migrations*, in the open transaction of *conn*.

    The path stays the schema's until that transaction ends: deferred triggers run at COMMIT.

    Args:
        conn: in a transaction; roll back where this fails.
        schema: new, and seen by nobody else.
        migrations: all files of tenants.
        run_id: of the run, if it is one's.
        shared: the shared schema's name.
        snapshot: one that fits; the files after it are applied. None: all are.

    Raises:
        MigrationFileError: a file holds what cannot be in a transaction.
        MigrationFailedError: a statement failed, or left its scope.
        LockHeldError: somebody else is at this schema.
    """
    await lock.claim(conn, schema.oid)
    rest = None
    if snapshot is not None and (rest := snapshot.rest(migrations)) is not None:
        await pour(conn, schema, snapshot, shared=shared)
        base = Baseline(snapshot.version, snapshot.digest)
        await baselines.record(
            *(conn, schema, base), name="snapshot", run_id=run_id, fingerprint=snapshot.fingerprint
        )
    rest = migrations if rest is None else rest
    defers = False
    for migration in map(inside, rest):
        await runner.apply(conn, schema, migration, run_id, shared=shared)
        defers = defers or "deferred" in migration.source.text.lower() or rest != migrations
        if defers and migration is not rest[-1]:
            await _check_deferred(conn, schema, migration)


async def pour(
    conn: asyncpg.Connection, schema: SchemaRef, snapshot: Snapshot, *, shared: str
) -> None:
    """Run the statements of *snapshot* in the empty *schema*, in one round trip.

    The path stays, as for a file.

    Raises:
        MigrationFailedError: one of them failed, with its line in the file.
    """
    marker = secrets.token_hex(8)
    path = f"{quoted(schema.name)}, {quoted(shared)}, pg_temp"
    await conn.execute(
        f"SET LOCAL search_path = {path}; SET LOCAL check_function_bodies = off; "
        f"SET LOCAL xmloption = content; SET LOCAL lock_timeout = {script.LOCK_TIMEOUT:d}; "
        f"SET LOCAL statement_timeout = 0; SET LOCAL tenancy.scope = {literal(marker)}"
    )
    body = snapshot.sql(schema.name)
    before = await conn.fetchrow(_GUARD)
    try:
        if body.strip():
            await conn.execute(body, timeout=POUR_SECONDS)
    except asyncpg.PostgresError as error:
        migration = snapshot.as_migration()
        offset = snapshot.offset(int(error.position) - 1) if error.position else None
        raise MigrationFailedError(script.failed(migration, error, offset)) from error
    if await conn.fetchrow(_GUARD) != before:
        raise script.broken(snapshot.as_migration(), "it left its transaction or its path")
    await conn.execute("SET LOCAL check_function_bodies TO DEFAULT; SET LOCAL xmloption TO DEFAULT")


async def _check_deferred(
    conn: asyncpg.Connection, schema: SchemaRef, migration: Migration
) -> None:
    names = await conn.fetchval(_DEFERRED, schema.oid, schema.name)
    if not names:
        return
    try:
        await conn.execute(f"SET CONSTRAINTS {names} IMMEDIATE; SET CONSTRAINTS {names} DEFERRED")
    except asyncpg.PostgresError as error:
        raise MigrationFailedError(script.failed(migration, error)) from error
