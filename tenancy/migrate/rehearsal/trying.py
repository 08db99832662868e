"""One file, statement by statement, with a look at locks and relations after each."""

import re
from dataclasses import dataclass, field, replace
from time import perf_counter

import asyncpg

from tenancy.migrate.files.model import Language, Migration
from tenancy.migrate.files.splitter import Statement
from tenancy.migrate.ledger.records import Failure
from tenancy.migrate.rehearsal.records import Lock, Step, Tried
from tenancy.migrate.rehearsal.relations import Sight
from tenancy.migrate.rehearsal.undone import GUARD
from tenancy.migrate.upgrade import fresh, python, script
from tenancy.migrate.upgrade.inside import inside
from tenancy.migrate.upgrade.scope import LEFT, Scope, timeouts
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import is_lost

# Short: who waits for a lock keeps all others waiting behind him, and here nothing is gained by it.
LOCK_MILLISECONDS = 500

_CONCURRENT = re.compile(r".*\bCONCURRENTLY\b", re.DOTALL)
_UNSAFE_ENUM = "55P04"


@dataclass(slots=True)
class Trial:
    """One file on its way through a schema, in a transaction that is never committed.

    Attributes:
        deadline: when the locks have been held for long enough, by `perf_counter`.
    """

    conn: asyncpg.Connection
    scope: Scope
    migration: Migration
    sight: Sight
    deadline: float | None = None
    steps: list[Step] = field(default_factory=list)

    async def run(self) -> Tried:
        """Run the file to its end or to what fails, and as COMMIT would look at it."""
        migration = self.migration
        failure: Failure | None = None
        await self.sight.begin_file()
        try:
            await enter(self.conn, self.scope, inside(migration))
            if migration.language is Language.PYTHON:
                await self._python()
            else:
                for statement, original in zip(
                    *(inside(migration).source.statements, self._originals()), strict=True
                ):
                    await self._statement(statement, original)
            await leave(self.conn, self.scope, migration)
        except MigrationFailedError as error:
            failure = error.failure
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            failure = self._failure(error, None)
        transactional = migration.directives.transactional
        return Tried(migration.label, tuple(self.steps), failure, transactional=transactional)

    def _originals(self) -> list[Statement]:
        """Return the file's own statements that are not left out, those of a block one by one."""
        starts = {one.start for one in inside(self.migration).source.statements}
        source = replace(self.migration.source, blocks=())
        return [one for one in source.statements if one.start in starts]

    async def _statement(self, statement: Statement, original: Statement) -> None:
        await self._limit()
        began = perf_counter()
        try:
            status = await self.conn.execute(
                statement.text, timeout=script.timeout_seconds(self.migration)
            )
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            within = int(error.position) - 1 if error.position else 0
            raise MigrationFailedError(self._failure(error, statement.start + within)) from error
        seconds = perf_counter() - began
        await self._note(original, seconds, status)

    async def _note(self, original: Statement, seconds: float, status: str) -> None:
        concurrent = _CONCURRENT.match(original.words) is not None
        locks = await self.sight.locks()
        rewritten, built = await self.sight.changes()
        count = status.rpartition(" ")[2]
        self.steps.append(
            Step(
                self.migration.source.place(original.start),
                script.head(original),
                seconds,
                int(count) if count.isdecimal() else None,
                () if concurrent else locks,
                rewritten,
                built,
                concurrent=concurrent,
            )
        )

    async def _python(self) -> None:
        await self._limit()
        began = perf_counter()
        await python.run(self.conn, self.scope, inside(self.migration))
        seconds = perf_counter() - began
        locks: tuple[Lock, ...] = await self.sight.locks()
        rewritten, built = await self.sight.changes()
        label = self.migration.label
        self.steps.append(Step(f"{label}:1:1", "up", seconds, None, locks, rewritten, built))

    async def _limit(self) -> None:
        if self.deadline is None:
            return
        left = max(1, round((self.deadline - perf_counter()) * 1000))
        own = timeouts(self.migration.directives)[1] or left
        await self.conn.execute(f"SET LOCAL statement_timeout = {min(own, left):d}")

    def _failure(self, error: asyncpg.PostgresError, offset: int | None) -> Failure:
        found = script.failed(self.migration, error, offset)
        words = _explained(error)
        if self.deadline is not None and isinstance(error, asyncpg.QueryCanceledError):
            words = "ended by --limit: `up` would hold these locks for longer"
        return found if not words else Failure(found.version, found.place, words, found.sqlstate)


async def replay(conn: asyncpg.Connection, scope: Scope, migration: Migration) -> None:
    """Run *migration* in the open transaction, unobserved and unrecorded.

    Raises:
        MigrationFileError: it holds what cannot be in a transaction.
        MigrationFailedError: it fails.
    """
    migration = inside(migration)
    await enter(conn, scope, migration)
    if migration.language is Language.PYTHON:
        await python.run(conn, scope, migration)
    else:
        await script.statements(conn, migration)
    await leave(conn, scope, migration)


async def enter(conn: asyncpg.Connection, scope: Scope, migration: Migration) -> None:
    """Begin *scope* in the open transaction, with a lock timeout that is short."""
    lock = timeouts(migration.directives)[0] or LOCK_MILLISECONDS
    await script.all_of(conn, scope.local(migration.directives))
    await conn.execute(f"SET LOCAL lock_timeout = {min(lock, LOCK_MILLISECONDS):d}")


async def leave(conn: asyncpg.Connection, scope: Scope, migration: Migration) -> None:
    """Do what COMMIT would do at the end of *migration*.

    Raises:
        MigrationFailedError: a deferred constraint does not hold, or the file left its scope.
    """
    await fresh.check_deferred(conn, scope.schema, migration)
    try:
        await conn.execute(scope.check())
    except asyncpg.PostgresError as error:
        fault = scope.fault(error)
        if fault is not None and fault < len(LEFT):
            raise script.broken(migration, LEFT[fault]) from error
        raise


def _explained(error: asyncpg.PostgresError) -> str:
    """Return what an error of the rehearsal's own making means; empty: the file is to blame."""
    if error.constraint_name == GUARD:
        return (
            "this ends the transaction, or asks for all deferred constraints: "
            "it cannot be rehearsed"
        )
    if error.sqlstate == _UNSAFE_ENUM:
        return (
            "an earlier file adds this value, and here both are in one transaction: "
            "rehearse it in a clone"
        )
    return ""
