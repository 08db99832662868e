"""One Python file in one schema: its function, what that is given, and where it failed."""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.records import Failure
from tenancy.migrate.report.events import Event
from tenancy.migrate.upgrade import modules, script
from tenancy.migrate.upgrade.batches import BackfillStoppedError, Batches, Work
from tenancy.migrate.upgrade.lent import lent
from tenancy.migrate.upgrade.pace import Pace
from tenancy.migrate.upgrade.scope import LEFT, UNMOVED, Scope, timeouts
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import is_lost

_LOG = logging.getLogger("tenancy.migrate")
_PARAMETER = re.compile(r"invalid input for query argument \$(\d+)")  # the value comes after it
_MARKER = 0  # the first of LEFT
_IN_PROGRESS = "another operation is in progress"  # asyncpg's words for a busy connection


class Context:
    """What the function of a Python file is given; of one schema and one run of it.

    Attributes:
        conn: asyncpg's connection. In the schema: names without a schema are the tenant's own, or
            the shared schema's. In the file's one transaction, or in none with transaction:false.
        schema: its name.
        tenant: the slug; None: the schema is no tenant's.
        log: a logger that says which schema and file it is.
    """

    def __init__(self, work: Work, tenant: str | None) -> None:
        self.conn: Any = work.lent
        self.schema = work.scope.schema.name
        self.tenant = tenant
        self.log = _Named(_LOG, {"schema": self.schema, "file": work.migration.source.label})
        self._work = work

    @property
    def stopping(self) -> bool:
        """Whether the run was told to stop; `batches` ends by itself then."""
        return self._work.stop.is_set()

    def batches(  # noqa: PLR0913 - all but the first have a default, and a name
        self,
        table: str,
        *,
        key: str | tuple[str, ...] = (),
        where: str = "true",
        size: int | None = None,
        seconds: float = 0.5,
        rest: float = 0.1,
        throttle: float = 0.0,
        name: str | None = None,
    ) -> Batches:
        """Go through *table* in batches, each in its own transaction; for ``async for`` alone.

        A batch is committed when the loop comes back for the next one, together with the key it
        came to. A run that was killed or stopped goes on after the last batch committed; none is
        done twice and none is left out. Rows that appear behind that key are not seen: whatever
        writes rows must write them right before the backfill begins.

        Args:
            table: of this schema.
            key: columns of a unique index, all NOT NULL, in its order; left out: the primary key.
            where: an SQL condition; rows it is not true of are passed over.
            size: rows of a batch; left out: from 1,000 on, as many as take *seconds*.
            seconds: how long a batch should take.
            rest: how long to pause after a batch, as a share of the time it took.
            throttle: how many seconds to pause at least.
            name: tells the loops of one file apart; left out: the table's name.

        Raises:
            MigrationError: the file is one transaction, or has two loops of one name.
        """
        work = self._work
        if work.migration.directives.transactional:
            raise MigrationError(
                "batches() is for a file that is not one transaction: write "
                f"`# migrate:{'down' if work.prefix else 'up'} transaction:false` on top of it"
            )
        name = work.prefix + (name or table)
        if any(loop.name == name for loop in work.loops):
            raise MigrationError(f"a second loop called {name}: give each a name= of its own")
        along = (key,) if isinstance(key, str) else key
        loop = Batches(work, name, (table, along, where), Pace(size, seconds, rest, throttle))
        work.loops.append(loop)
        return loop


async def run(  # noqa: PLR0913 - what to run where, then how, by name
    conn: asyncpg.Connection,
    scope: Scope,
    migration: Migration,
    *,
    tenant: str | None = None,
    watch: Callable[[Event], None] | None = None,
    stop: asyncio.Event | None = None,
    down: bool = False,
) -> None:
    """Run the function of *migration* in the schema of *scope*.

    On a *conn* in a transaction the scope is the caller's to begin and to check, and all of the
    file is in that transaction, its backfills too. Outside of one this begins the scope for the
    session and checks it; the session keeps it. Shares nothing between schemas but the module.

    Args:
        conn: idle, or in the transaction that also writes the ledger's row.
        scope: where to run it, and as whom.
        migration: a Python file.
        tenant: the slug, if it is a tenant's schema.
        watch: told of each batch that was committed.
        stop: once set, a backfill ends between two batches.
        down: run the way back.

    Raises:
        MigrationFileError: the file cannot be loaded.
        MigrationFailedError: the function failed, or left its scope.
        BackfillStoppedError: it was left between two batches because of *stop*; no failure.
        OSError, asyncpg.InterfaceError, asyncpg.PostgresError: the connection is lost.
    """
    function = _function(migration, down=down)
    work = Work(
        conn=conn,
        scope=scope,
        migration=migration,
        inline=bool(conn.is_in_transaction()),
        prefix="down " if down else "",
        watch=watch or (lambda _: None),
        stop=stop or asyncio.Event(),
        loops=[],
    )
    try:
        if not work.inline:
            await _enter(conn, scope, migration)
        async with lent(conn, script.timeout_seconds(migration)) as borrowed:
            work.lent = borrowed
            await function(Context(work, tenant))
            work.require_done()
        if not work.inline:
            await _require_scope(conn, scope)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the file may raise anything
        _fail(work, error)


def _function(migration: Migration, *, down: bool) -> modules.Function:
    functions = modules.load(migration)
    if not down:
        return functions.up
    if functions.down is None:
        raise script.broken(migration, "the file has no `async def down(context)`")
    return functions.down


async def _enter(conn: asyncpg.Connection, scope: Scope, migration: Migration) -> None:
    lock, statement = timeouts(migration.directives)
    limits = [f"SET lock_timeout = {lock:d}", f"SET statement_timeout = {statement:d}"]
    for sql in [*scope.session(), *limits]:
        await conn.execute(sql)


async def _require_scope(conn: asyncpg.Connection, scope: Scope) -> None:
    if conn.is_in_transaction():
        raise MigrationError("the file left a transaction open: end it")
    await conn.execute(scope.check())


def _fail(work: Work, error: BaseException) -> NoReturn:
    """Raise what *error* is to those outside: the file's failure, or the connection's."""
    if isinstance(error, BackfillStoppedError):
        raise error
    if isinstance(error, asyncpg.PostgresError) and is_lost(error):
        raise error
    if work.conn.is_closed():
        if isinstance(error, Exception) and is_lost(error):
            raise error
        raise asyncpg.ConnectionDoesNotExistError("the connection was lost") from error
    raise MigrationFailedError(_failure(work, error)) from error


def _failure(work: Work, error: BaseException) -> Failure:
    migration = work.migration
    path = migration.path
    at = (
        migration.source.label
        if path is None
        else modules.place(migration.source.label, path, error)
    )
    found = replace(_told(work, error), place=at)
    if (loop := work.open) is None:
        return found
    where = f" (in the backfill {loop.name}, after {loop.done:,} rows)"
    return replace(found, message=f"{found.message}{where}")


def _told(work: Work, error: BaseException) -> Failure:
    """Return *error* in words; those that the file made up are told on its terminal alone."""
    migration = work.migration
    left = _left(work, error)
    if left is not None:
        return Failure(migration.version, "", left)
    if type(error) is asyncpg.DataError and (parameter := _PARAMETER.search(str(error))):
        words = f"asyncpg: the value for ${parameter[1]} is not of that parameter's type"
        return Failure(migration.version, "", words)
    if isinstance(error, asyncpg.PostgresError):
        return script.failed(migration, error)
    if isinstance(error, MigrationError):
        return Failure(migration.version, "", str(error))
    if isinstance(error, asyncpg.InterfaceError) and _IN_PROGRESS in str(error):
        words = "two tasks of the file use the connection at once: await one after the other"
        return Failure(migration.version, "", words)
    words = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    return Failure(migration.version, "", words, raised=True)


def _left(work: Work, error: BaseException) -> str | None:
    """Return how the file left its scope, if *error* is that of a scope's check."""
    if not work.inline and work.scope.fault(error) == _MARKER:
        return "the file has reset its session (RESET ALL, DISCARD ALL): it may not"
    for scope in (work.scope, *(loop.scope for loop in work.loops)):
        number = scope.fault(error)
        if number is not None and number < UNMOVED:
            return LEFT[number]
    return None


class _Named(logging.LoggerAdapter[logging.Logger]):
    """Puts the schema and the file before each message."""

    def process(self, msg: object, kwargs: Any) -> tuple[str, Any]:  # noqa: ANN401
        named = self.extra or {}
        return f"{named['schema']} {named['file']}: {msg}", kwargs
