"""One file in an open transaction: the ledger's row, what the file says, the checkpoint."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import asyncpg

from tenancy.migrate.files.model import Language, Migration
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import Move, SchemaRef
from tenancy.migrate.ledger.steps import Direction
from tenancy.migrate.report.events import Event
from tenancy.migrate.upgrade import python, script
from tenancy.migrate.upgrade.change import Change
from tenancy.migrate.upgrade.scope import Scope
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import is_lost
from tenancy.migrate.upgrade.way import Way


async def apply(
    conn: asyncpg.Connection,
    schema: SchemaRef,
    migration: Migration,
    run_id: UUID | None,
    *,
    shared: str,
) -> None:
    """Apply *migration* to *schema* in the open transaction; when that commits, both are there.

    The ledger's row goes first: whoever comes second waits for it, and then does nothing twice. The
    checkpoint goes last, so that a file which ended the transaction has none.

    Raises:
        AlreadyAppliedError: the ledger has it.
        MigrationFailedError: a statement failed, or left its scope.
    """
    facts = await checkpoints.facts(conn, schema, migration.stage)
    move = Move(migration.previous, migration.digest, migration.version)
    scope = Scope(schema, migration.stage, shared, facts.role)
    change = Change(scope, migration, facts, move, run_id)
    await filled(conn, change, change.begun[1:], lambda: content(conn, change))


async def filled(
    conn: asyncpg.Connection,
    change: Change,
    begun: list[str],
    fill: Callable[[], Awaitable[None]] | None,
) -> None:
    """Run *begun*, then *fill*, then what ends the transaction of *change*, but for COMMIT.

    Raises:
        AlreadyAppliedError: the ledger has it.
        MigrationFailedError: a statement failed, or the file left its scope.
    """
    try:
        await script.all_of(conn, begun)
        if fill is not None:
            await fill()
        # By itself first: a role that the file has left may not write to the ledger.
        await script.all_of(conn, [change.scope.check(), *change.ended])
    except asyncpg.PostgresError as error:
        script.refuse(change, error)
        raise


async def content(
    conn: asyncpg.Connection,
    change: Change,
    watch: Callable[[Event], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Do what the file says, in its scope in the open transaction.

    Raises:
        MigrationFailedError: a statement failed.
    """
    if change.migration.language is Language.PYTHON:
        tenant = change.facts.slug
        await python.run(
            *(conn, change.scope, change.migration),
            tenant=tenant,
            watch=watch,
            stop=stop,
            down=change.direction is Direction.DOWN,
        )
    else:
        await script.statements(conn, change.way)


async def commit(conn: asyncpg.Connection, migration: Way) -> None:
    """End the open transaction of *migration*.

    Raises:
        MigrationFailedError: something deferred failed, or it was not committed.
    """
    try:
        status = await conn.execute("COMMIT", timeout=script.timeout_seconds(migration))
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        failure = script.failed(migration, error)
        words = f"at its COMMIT: {failure.message}"
        raise MigrationFailedError(replace(failure, message=words)) from error
    if status != "COMMIT":
        raise script.broken(migration, f"the server answered {status} to COMMIT")
