"""One file's statements one by one, so that each error has its place; and the words of failures."""

import re
from collections.abc import Iterable

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.files.model import Migration
from tenancy.migrate.files.splitter import Kind, Statement, tokens
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import Failure, SchemaRef
from tenancy.migrate.upgrade import traces
from tenancy.migrate.upgrade.change import Change
from tenancy.migrate.upgrade.scope import LEFT, LOCK_TIMEOUT, STATEMENT_TIMEOUT, Scope, timeouts
from tenancy.migrate.upgrade.session import UNLIMITED_SECONDS, is_lost
from tenancy.migrate.upgrade.way import Way

__all__ = [
    "LOCK_TIMEOUT",
    "STATEMENT_TIMEOUT",
    "MigrationFailedError",
    "NeedsDecisionError",
    "all_of",
    "broken",
    "execute",
    "failed",
    "failed_at",
    "head",
    "overtaken",
    "refuse",
    "run",
    "statements",
    "timeout_seconds",
    "words",
]

# The server ends a statement first; this is for a server that has gone without a word.
SILENCE_SECONDS = 30.0

_RAISING = {"exec_stmt_raise", "exec_stmt_assert"}  # pl_exec.c
_HEAD_WORDS = 5


class MigrationFailedError(MigrationError):
    """A file could not be applied to a schema.

    Attributes:
        failure: what goes into the ledger.
    """

    code = "migration_failed"
    exit_code = 3

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class NeedsDecisionError(MigrationFailedError):
    """Nobody but a person can say what has become of a statement: names it, and the two ways out.

    The other schemas go on. `resolve` is the command that answers.
    """

    code = "migration_needs_decision"


async def run(
    conn: asyncpg.Connection, schema: SchemaRef, migration: Migration, *, shared: str, role: str
) -> None:
    """Run the statements of *migration* in *schema*, in the open transaction and as *role*.

    The path, which for a tenant's files includes the *shared* schema, and the timeouts stay until
    that transaction ends: deferred triggers need them at COMMIT.

    Raises:
        MigrationFailedError: a statement failed, or left the transaction, the path or the role.
    """
    scope = Scope(schema, migration.stage, shared, role)
    await all_of(conn, scope.local(migration.directives))
    await statements(conn, migration)
    try:
        await conn.execute(scope.check())
    except asyncpg.PostgresError as error:
        _refuse_left(scope, migration, error)
        raise


async def statements(conn: asyncpg.Connection, migration: Way) -> None:
    """Run the statements of *migration* one by one.

    Raises:
        MigrationFailedError: one failed; gives its place.
    """
    for statement in migration.source.statements:
        await execute(conn, migration, statement, timeout_seconds(migration))


async def execute(
    conn: asyncpg.Connection, migration: Way, statement: Statement, seconds: float
) -> None:
    """Run one *statement* of *migration*; after *seconds* without a word the server is given up.

    Raises:
        MigrationFailedError: it failed; gives its place.
    """
    try:
        await conn.execute(statement.text, timeout=seconds)
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        within = int(error.position) - 1 if error.position else 0
        raise failed_at(migration, error, statement.start + within) from error


async def all_of(conn: asyncpg.Connection, sql: Iterable[str]) -> None:
    """Run SQL of our own, one statement at a time as every server takes it."""
    for statement in sql:
        await conn.execute(statement)


def refuse(change: Change, error: asyncpg.PostgresError) -> None:
    """Raise if *error* is of the SQL around a file: it left its scope, or was applied before.

    Raises:
        MigrationFailedError, AlreadyAppliedError
    """
    scope = change.scope
    if checkpoints.is_claimed(error):
        raise checkpoints.claimed(scope.schema, change.migration) from error
    _refuse_left(scope, change.way, error)
    if scope.fault(error) is not None:
        raise overtaken(change) from error


def overtaken(change: Change) -> checkpoints.AlreadyAppliedError:
    """Return the error of a schema that somebody else has brought on."""
    name, label = change.scope.schema.name, change.migration.source.label
    return checkpoints.AlreadyAppliedError(f"{name} does not stand before {label}")


def failed(migration: Way, error: BaseException, offset: int | None = None) -> Failure:
    """Return *error* as a failure at *offset*, or of the file as a whole."""
    source = migration.source
    place = source.label if offset is None else source.place(offset)
    sqlstate = getattr(error, "sqlstate", None)
    raised = getattr(error, "server_source_function", None) in _RAISING
    said = _told(words(error), sqlstate, source.text)
    if offset is not None and (statement := _statement_at(migration, offset)):
        traced = traces.trace(error, source.text, statement)
        said = f"{said} ({', '.join([head(statement), *traced])})"
    return Failure(migration.version, place, said, sqlstate, raised=raised)


def failed_at(migration: Way, error: BaseException, offset: int) -> MigrationFailedError:
    """Return the error of a file which failed by *error* at *offset*."""
    return MigrationFailedError(failed(migration, error, offset))


def broken(migration: Way, reason: str) -> MigrationFailedError:
    """Return the error of a file that failed as a whole, without an error of the server's."""
    return MigrationFailedError(Failure(migration.version, migration.source.label, reason))


def head(statement: Statement) -> str:
    """Return how *statement* begins, as it is written: keywords and names, but no values."""
    found: list[str] = []
    for token in tokens(statement.text):
        if token.silent:
            continue
        if token.kind not in {Kind.WORD, Kind.QUOTED_NAME} or len(found) == _HEAD_WORDS:
            break
        found.append(token.text)
    return " ".join(found)


def timeout_seconds(migration: Way) -> float:
    """Return how long to wait for the server's answer to one statement of *migration*."""
    timeout = timeouts(migration.directives)[1]
    return timeout / 1000 + SILENCE_SECONDS if timeout else UNLIMITED_SECONDS


def words(error: BaseException) -> str:
    """Return what *error* says, without the values that the server quotes out of rows.

    Those are in DETAIL, which str() would add, and in the messages of class 22 (data exceptions).
    In class 23 the constraint's name says enough, and a file may raise that in its own words.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return str(error) or type(error).__name__
    if str(error.sqlstate)[:2] not in {"22", "23"}:
        return str(error.args[0])
    condition = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__.removesuffix("Error"))
    constraint = f" of {error.constraint_name}" if error.constraint_name else ""
    return f"{condition.lower()}{constraint}"


def _told(said: str, sqlstate: str | None, text: str) -> str:
    """Return what was *said*, without what it quotes that is not in the file's *text*.

    In class 42 that is a name, or text that was cast to one, to SQL or to a query's syntax
    (``to_tsquery(body)``, ``EXECUTE``): a row's.
    """
    before, *quoted = said.split('"')
    own = text.lower()
    if not str(sqlstate).startswith("42") or all(one.lower() in own for one in quoted[::2]):
        return said
    return f'{before}"..."{quoted[-1]}'


def _statement_at(migration: Way, offset: int) -> Statement | None:
    before = [one for one in migration.source.statements if one.start <= offset]
    return before[-1] if before else None


def _refuse_left(scope: Scope, migration: Way, error: BaseException) -> None:
    fault = scope.fault(error)
    if fault is not None and fault < len(LEFT):
        raise broken(migration, LEFT[fault]) from error
