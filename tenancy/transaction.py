"""THE GATE: pool + scope -> one transaction in the tenant's schema. The file to audit.

One round trip in (begin, path, role, marker), the block's own statements, one round trip out
(guard, forget, commit). SECURITY.md numbers the promises; the tests in tests/isolation/ hold them.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from tenancy import tenant
from tenancy.connection import FORGET, discard, is_gone
from tenancy.errors import (
    CommitConflictError,
    CommitUnknownError,
    DatabaseUnavailableError,
    NestedTransactionError,
    ScopeBrokenError,
    TransactionFailedError,
)
from tenancy.faults import LOST
from tenancy.identifiers import literal, quoted
from tenancy.pool import Entry, Pool

IsolationLevel = Literal["read_committed", "repeatable_read", "serializable"]

_LEVELS: dict[IsolationLevel | None, str] = {
    None: "",
    "read_committed": " ISOLATION LEVEL READ COMMITTED",
    "repeatable_read": " ISOLATION LEVEL REPEATABLE READ",
    "serializable": " ISOLATION LEVEL SERIALIZABLE",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What one transaction may see, and the SQL that holds it there.

    Attributes:
        schemas: the search path, first one first. ``pg_temp`` is put behind them: without it a
            temporary table is found before a table of the tenant.
        role: whom to be inside; None: the login itself, as at level ``schema``.
        readonly: the server refuses writes.
        isolation: of the transaction; None: the server's default.
        shape: version of the tables; see `pool.Entry`.
        marker: new in every transaction, so that a block's own ``COMMIT; BEGIN`` is noticed.
    """

    schemas: tuple[str, ...]
    role: str | None = None
    readonly: bool = False
    isolation: IsolationLevel | None = None
    shape: str = ""
    marker: str = field(default_factory=lambda: secrets.token_hex(8))

    def entry(self) -> Entry:
        """The way in."""
        mode = f"{_LEVELS[self.isolation]}{' READ ONLY' if self.readonly else ''}"
        sql = f"BEGIN{mode}; {_entry(self.schemas, self.role)}{literal(self.marker)}"
        return Entry(sql, self.readonly, self.isolation, self.shape)

    def exit(self, also: str = "") -> str:
        """The way out: it fails, and so undoes everything, unless the scope is as it was entered.

        Deferred triggers run first, still inside the scope. In a transaction that has failed that
        first statement raises; a plain COMMIT would answer ROLLBACK, and no error.

        Args:
            also: a further check, as an item of a SELECT list with its comma.
        """
        guard = f"{_guard(self.schemas, self.role)}{literal(self.marker)}"
        return (
            f"SET CONSTRAINTS ALL IMMEDIATE; {guard}"
            " THEN '0/0' ELSE 'tenancy: the scope was left' END AS pg_catalog.pg_lsn),"
            f" pg_catalog.pg_advisory_unlock_all(){also}; {FORGET}; COMMIT"
        )


@lru_cache(maxsize=10_000)
def _entry(schemas: tuple[str, ...], role: str | None) -> str:
    """Return what follows BEGIN, up to the marker."""
    path = ", ".join((*map(quoted, schemas), "pg_temp"))
    become = f"SET LOCAL ROLE {quoted(role)}; " if role else ""
    return f"SET LOCAL search_path = {path}; {become}SET LOCAL tenancy.scope = "


@lru_cache(maxsize=10_000)
def _guard(schemas: tuple[str, ...], role: str | None) -> str:
    """Return the beginning of the guard, up to the marker.

    Every constant is typed and every name qualified: resolving an untyped one costs the server
    more than the rest of the guard, and a path that a block has changed must not choose operators.
    """
    path = literal(", ".join((*schemas, "pg_temp")))
    whoever = f"name {literal(role)}" if role else "session_user"
    return (
        "SELECT CAST(CASE WHEN"
        f" pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.=) text {path}"
        f" AND current_user OPERATOR(pg_catalog.=) {whoever}"
        " AND pg_catalog.current_setting('tenancy.scope', true) OPERATOR(pg_catalog.=) text "
    )


_LOST_BEFORE_COMMIT = "the connection was lost before COMMIT: nothing was saved"

# The task whose block is open in this context. A task that a block spawns inherits the value, but
# is not that task, and may open a block of its own.
_holder: ContextVar["asyncio.Task[object] | None"] = ContextVar("tenancy.holder", default=None)


@asynccontextmanager
async def transaction(pool: Pool, scope: Scope) -> AsyncIterator[PoolConnectionProxy]:
    """Yield a connection inside one transaction within *scope*; commit when the block ends.

    An exception out of the block, a cancellation too, rolls back. The connection is asyncpg's own;
    after the block it raises asyncpg.InterfaceError; ``conn.transaction()`` inside is a savepoint.

    Raises:
        NestedTransactionError: this task is inside such a block already.
        PoolExhaustedError, DatabaseUnavailableError, DatabaseSetupError: nothing has run.
        TransactionFailedError: a statement failed and its error was swallowed; nothing is saved.
        ScopeBrokenError: the block committed, changed path or role or touched PREPAREd statements
            by itself, or a task of it still uses the connection.
        CommitConflictError: a deferred constraint refused; nothing is saved.
        CommitUnknownError: the connection was lost during COMMIT.
    """
    task = asyncio.current_task()
    if _holder.get() is task:
        raise NestedTransactionError(
            "this task holds a transaction already: use conn.transaction() for a savepoint, "
            "or end the outer block first"
        )
    conn = await pool.enter(scope.entry())
    _holder.set(task)
    try:
        yield conn
        await _commit(conn, scope)
    except LOST as error:
        if not is_gone(conn):
            raise
        raise DatabaseUnavailableError(_LOST_BEFORE_COMMIT) from error
    finally:
        _holder.set(None)
        await pool.release(conn)  # rolls back what was not committed; closes what is in doubt


async def _commit(conn: PoolConnectionProxy, scope: Scope) -> None:
    if is_gone(conn):
        raise DatabaseUnavailableError(_LOST_BEFORE_COMMIT)
    if not scope.readonly:
        tenant.note_commit_sent()
    try:
        also = f", {conn.statements_are_ours()}" if conn.may_have_prepared else ""
        tag = await conn.leave(scope.exit(also))
    except asyncpg.InFailedSQLTransactionError as error:
        raise TransactionFailedError(
            "a statement of this block failed and its error was swallowed, so nothing is saved: "
            "let the error out, or put the statement into `async with conn.transaction()`"
        ) from error
    except asyncpg.InvalidTextRepresentationError as error:
        if "tenancy: " not in str(error):
            raise  # a deferred trigger's own
        discard(conn)
        raise ScopeBrokenError(
            "the block ended its transaction, changed search_path or role, or touched PREPAREd "
            "statements; nothing more is saved: leave BEGIN, COMMIT, SET and PREPARE to the gate"
        ) from error
    except asyncpg.IntegrityConstraintViolationError as error:
        raise CommitConflictError("a deferred constraint refused: nothing is saved") from error
    except LOST as error:
        raise _outcome_of(conn, scope, error) from error
    if tag != "COMMIT":
        discard(conn)
        raise ScopeBrokenError(f"the server answered COMMIT with {tag}: nothing is saved")


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
