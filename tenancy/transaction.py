"""THE GATE: pool + scope -> one transaction in the tenant's schema. The file to audit.

One round trip in (begin, path, role, marker), the block's own statements, one round trip out
(guard, forget, commit). SECURITY.md numbers the promises; the tests in tests/isolation/ hold them.
"""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from tenancy import tenant
from tenancy.errors import (
    CommitConflictError,
    CommitUnknownError,
    DatabaseUnavailableError,
    NestedTransactionError,
    ScopeBrokenError,
    TransactionFailedError,
)
from tenancy.faults import LOST, LOST_BEFORE_COMMIT
from tenancy.pool.holders import discard, is_gone
from tenancy.pool.pool import Pool
from tenancy.scope import Scope


@dataclass(slots=True)
class _Block:
    """An open block and its task; an object, because its end may run in another context."""

    task: "asyncio.Task[object] | None"
    is_open: bool = True

    def is_mine(self) -> bool:
        return self.is_open and self.task is asyncio.current_task()


# A task that a block spawns inherits the value, but is not its task, and may open one of its own.
open_block: ContextVar[_Block | None] = ContextVar("tenancy.block", default=None)


class Transaction:
    """A connection inside one transaction within a scope; committed when the block ends.

    An exception out of the block, a cancellation too, rolls back. The connection is asyncpg's own;
    after the block it raises asyncpg.InterfaceError; ``conn.transaction()`` is a savepoint.

    Raises:
        NestedTransactionError: this task is inside such a block already.
        TenantBusyError: this tenant has as many at work as it may; nothing has run.
        PoolExhaustedError, DatabaseUnavailableError, DatabaseSetupError: nothing has run.
        TransactionFailedError: a statement failed and its error was swallowed; nothing is saved.
        ScopeBrokenError: the block committed, changed path or role or touched PREPAREd statements
            by itself, or a task of it still uses the connection.
        CommitConflictError: a deferred constraint refused; nothing is saved.
        CommitUnknownError: the connection was lost, or the task cancelled, during COMMIT.
    """

    __slots__ = ("_block", "_conn", "_pool", "_scope")

    def __init__(self, pool: Pool, scope: Scope) -> None:
        self._pool = pool
        self._scope = scope

    async def __aenter__(self) -> PoolConnectionProxy:
        outer = open_block.get()
        if outer is not None and outer.is_mine():
            raise NestedTransactionError("in a transaction, conn.transaction() gives a savepoint")
        self._conn = await self._pool.enter(self._scope.entry())
        self._block = _Block(asyncio.current_task())
        open_block.set(self._block)
        return self._conn

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if error is None:
                await _commit(self._conn, self._scope)
            elif isinstance(error, LOST) and is_gone(self._conn):
                raise DatabaseUnavailableError(LOST_BEFORE_COMMIT) from error
            elif isinstance(error, TimeoutError) and error.__cause__ is None:
                discard(self._conn)  # the driver's own: no ROLLBACK would be answered either
        finally:
            self._block.is_open = False
            # Rolls back, unless committed; then it never waits: a cancellation would hide it.
            await self._pool.leave(self._conn, self._scope.schemas[0], wait=error is not None)


async def _commit(conn: PoolConnectionProxy, scope: Scope) -> None:
    if is_gone(conn):
        raise DatabaseUnavailableError(LOST_BEFORE_COMMIT)
    if not scope.readonly:
        tenant.sending_commit()
    try:
        tag = await conn.leave(scope.exit(conn.guard, conn.suspicion))
    except LOST as error:
        raise _outcome_of(conn, scope, error) from error
    except asyncio.CancelledError as error:
        if scope.readonly:
            raise
        # A cancelled task may say that it saved nothing, and COMMIT is on its way. The connection
        # is closed, so that giving it back cannot be cancelled, and hide that.
        discard(conn)
        raise CommitUnknownError("cancelled during COMMIT: saved or not is not known") from error
    except asyncpg.PostgresError as error:
        ours = _refusal(conn, error)
        if ours is None:
            raise
        raise ours from error
    if tag != "COMMIT":
        discard(conn)
        raise ScopeBrokenError(f"the server answered COMMIT with {tag}: nothing is saved")


def _refusal(conn: PoolConnectionProxy, error: asyncpg.PostgresError) -> Exception | None:
    """Return our error for a COMMIT the server refused; None: the server's own says it best."""
    if isinstance(error, asyncpg.InFailedSQLTransactionError):
        return TransactionFailedError(
            "a statement of this block failed and its error was swallowed, so nothing is saved: "
            "let the error out, or put the statement into `async with conn.transaction()`"
        )
    if isinstance(error, asyncpg.InvalidTextRepresentationError) and "tenancy: " in str(error):
        discard(conn)
        return ScopeBrokenError(
            "the block ended its transaction, changed search_path, role or read-only, or touched "
            "PREPAREd statements; nothing more is saved: leave BEGIN, COMMIT, SET and PREPARE to "
            "the gate"
        )
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return CommitConflictError("a deferred constraint refused: nothing is saved")
    return None


def _outcome_of(conn: PoolConnectionProxy, scope: Scope, error: Exception) -> Exception:
    """Return what is certain after COMMIT was asked for and not answered."""
    sent = is_gone(conn) or not isinstance(error, asyncpg.InterfaceError)
    discard(conn)
    if not sent:  # asyncpg refused: a task is in the middle of a statement on this connection
        return ScopeBrokenError(
            "a task of this block still uses the connection, so nothing is saved: await it inside"
        )
    if scope.readonly:
        return DatabaseUnavailableError("the connection was lost; there was nothing to save")
    return CommitUnknownError("the connection was lost during COMMIT: saved or not is not known")
