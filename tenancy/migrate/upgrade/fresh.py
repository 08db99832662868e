"""A new schema on its way from nothing to the target, in one transaction of the caller's."""

from dataclasses import replace

import asyncpg

from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Migration, Stage
from tenancy.migrate.ledger import baselines, checkpoints, stamp
from tenancy.migrate.ledger.records import Baseline, Move, SchemaRef
from tenancy.migrate.shape.snapshot import Snapshot
from tenancy.migrate.upgrade import lock, runner, script
from tenancy.migrate.upgrade.inside import inside
from tenancy.migrate.upgrade.scope import LEFT, Scope
from tenancy.migrate.upgrade.scratch import replay
from tenancy.migrate.upgrade.session import Session

POUR_SECONDS = 600.0

# What a dump's statements rely on, beside the path.
_DUMPED = {"check_function_bodies": "off", "xmloption": "content"}

# What COMMIT would do after each file: without it the next one's ALTER TABLE would find "pending
# trigger events". Those that a file has made IMMEDIATE for itself stay what they are.
_DEFERRED = """
    SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%I.%I', $2::text, conname), ', ')
    FROM pg_catalog.pg_constraint WHERE connamespace = $1 AND condeferred
"""


async def fill(
    conn: asyncpg.Connection,
    schema: SchemaRef,
    migrations: tuple[Migration, ...],
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
        await begin(conn, schema, base, name="snapshot")
    rest = migrations if rest is None else rest
    defers = rest != migrations
    for migration in map(inside, rest):
        await runner.apply(conn, schema, migration, None, shared=shared)
        defers = defers or "deferred" in migration.source.text.lower()
        if defers and migration.version != rest[-1].version:
            await check_deferred(conn, schema, migration)


async def fill_apart(
    session: Session,
    schema: SchemaRef,
    migrations: tuple[Migration, ...],
    *,
    shared: str,
    snapshot: Snapshot | None = None,
) -> None:
    """Bring the scratch *schema* of *session* to the end of *migrations*, a transaction each.

    Raises:
        MigrationFileError, MigrationFailedError: as `fill`.
    """
    conn = await session.connection()
    rest = None
    if snapshot is not None and (rest := snapshot.rest(migrations)) is not None:
        async with conn.transaction():
            await pour(conn, schema, snapshot, shared=shared)
            base = Baseline(snapshot.version, snapshot.digest)
            await begin(conn, schema, base, name="snapshot")
    rest = migrations if rest is None else rest
    await replay(session, schema, rest, shared=shared, stays=True)


async def begin(
    conn: asyncpg.Connection,
    schema: SchemaRef,
    base: Baseline,
    *,
    name: str,
) -> None:
    """Let the ledger of *schema* begin at *base*, in the open transaction, and stamp the schema.

    Args:
        conn: in the transaction that makes it true.
        schema: of which the ledger has nothing.
        base: the version and the digest of the chain up to it.
        name: where it comes from, in one word.

    Raises:
        AlreadyAppliedError: the ledger has something of it.
    """
    await baselines.record(conn, schema, base, name=name)
    facts = await checkpoints.facts(conn, schema)
    await conn.execute(stamp.sql(schema, facts.comment, Move("", base.digest, base.version)))


async def pour(
    conn: asyncpg.Connection, schema: SchemaRef, snapshot: Snapshot, *, shared: str
) -> None:
    """Run the statements of *snapshot* in the empty *schema*, in one round trip.

    The path stays, as for a file.

    Raises:
        MigrationFailedError: one of them failed, with its line in the file.
    """
    scope = await enter(conn, schema, shared=shared)
    body = snapshot.sql(schema.name)
    after = [scope.check(), *(f"SET LOCAL {name} TO DEFAULT" for name in _DUMPED)]
    try:
        await conn.execute(f"{body}\n;{'; '.join(after)}", timeout=POUR_SECONDS)
    except asyncpg.PostgresError as error:
        migration = replace(snapshot, body=body).as_migration()
        if (fault := scope.fault(error)) is not None:
            raise script.broken(migration, LEFT[fault]) from error
        offset = snapshot.offset(int(error.position) - 1) if error.position else None
        raise script.MigrationFailedError(script.failed(migration, error, offset)) from error


async def enter(conn: asyncpg.Connection, schema: SchemaRef, *, shared: str) -> Scope:
    """Begin the scope that a dump's statements run in, until the open transaction ends."""
    role: str = await conn.fetchval("SELECT current_user::text")
    scope = Scope(schema, Stage.TENANT, shared, role)
    lasting = {**_DUMPED, "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    settings = [f"SET LOCAL {name} = {value}" for name, value in lasting.items()]
    await conn.execute("; ".join([*scope.local(Directives()), *settings]))
    return scope


async def check_deferred(conn: asyncpg.Connection, schema: SchemaRef, migration: Migration) -> None:
    """Look at deferred constraints as COMMIT would after *migration*, and defer them again.

    Raises:
        MigrationFailedError: one does not hold.
    """
    names = await conn.fetchval(_DEFERRED, schema.oid, schema.name)
    if not names:
        return
    try:
        await conn.execute(f"SET CONSTRAINTS {names} IMMEDIATE; SET CONSTRAINTS {names} DEFERRED")
    except asyncpg.PostgresError as error:
        raise script.MigrationFailedError(script.failed(migration, error)) from error
