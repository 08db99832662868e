"""One file's statements in one schema, in a scope that is checked afterwards."""

import re
import secrets

import asyncpg

from tenancy.errors import MigrationError
from tenancy.identifiers import literal, quoted
from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Migration, Stage
from tenancy.migrate.files.splitter import Statement
from tenancy.migrate.ledger.records import Failure, SchemaRef
from tenancy.migrate.upgrade.session import is_lost

# In milliseconds. Short, because every query of a tenant waits behind an ALTER that waits.
LOCK_TIMEOUT = 2_000
STATEMENT_TIMEOUT = 600_000

# The server ends a statement first; this is for a server that has gone without a word.
SILENCE_SECONDS = 30.0

_SCOPE = """
    SELECT pg_catalog.current_setting('tenancy.scope', true) AS marker,
           pg_catalog.current_setting('search_path') AS path,
           current_user::text AS role,
           (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = pg_catalog.current_schema())
               AS schema_oid
"""
_RAISING = {"exec_stmt_raise", "exec_stmt_assert"}  # pl_exec.c
_BROKEN = (
    "the file ended the migrator's transaction; a part of it may have stayed: look at the schema",
    "the file left another search_path than it was given: set it back before the end",
    "the file left another role than it was given: set it back before the end",
    "the schema is not there any more",
)


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
    path = _path(schema, migration.stage, shared)
    marker = secrets.token_hex(8)
    await conn.execute(_scope(path, marker, migration.directives))
    for statement in migration.source.statements:
        await _execute(conn, migration, statement)
    await _require_scope(conn, migration, (marker, path, role, schema.oid))


def failed(migration: Migration, error: BaseException, offset: int | None = None) -> Failure:
    """Return *error* as a failure at *offset*, or of the file as a whole."""
    source = migration.source
    place = source.label if offset is None else source.place(offset)
    sqlstate = getattr(error, "sqlstate", None)
    raised = getattr(error, "server_source_function", None) in _RAISING
    return Failure(migration.version, place, _words(error), sqlstate, raised=raised)


def broken(migration: Migration, reason: str) -> MigrationFailedError:
    """Return the error of a file that failed as a whole, without an error of the server's."""
    return MigrationFailedError(Failure(migration.version, migration.source.label, reason))


def timeout_seconds(migration: Migration) -> float:
    """Return how long to wait for the server's answer to one statement of *migration*."""
    timeout = migration.directives.statement_timeout or STATEMENT_TIMEOUT
    return timeout / 1000 + SILENCE_SECONDS


def _path(schema: SchemaRef, stage: Stage, shared: str) -> list[str]:
    readable = [shared] if stage is Stage.TENANT else []
    # Last, or a temporary table would hide the schema's own.
    return [schema.name, *readable, "pg_temp"]


def _scope(path: list[str], marker: str, directives: Directives) -> str:
    names = ", ".join([*map(quoted, path[:-1]), path[-1]])
    return (
        f"SET LOCAL search_path = {names}; "
        f"SET LOCAL lock_timeout = {directives.lock_timeout or LOCK_TIMEOUT:d}; "
        f"SET LOCAL statement_timeout = {directives.statement_timeout or STATEMENT_TIMEOUT:d}; "
        f"SET LOCAL tenancy.scope = {literal(marker)}"
    )


async def _execute(conn: asyncpg.Connection, migration: Migration, statement: Statement) -> None:
    # One at a time, so that an error without a position has a place too.
    try:
        await conn.execute(statement.text, timeout=timeout_seconds(migration))
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        within = int(error.position) - 1 if error.position else 0
        raise MigrationFailedError(failed(migration, error, statement.start + within)) from error


async def _require_scope(
    conn: asyncpg.Connection, migration: Migration, expected: tuple[str, list[str], str, int]
) -> None:
    row = await conn.fetchrow(_SCOPE)
    found = (row["marker"], _names(row["path"]), row["role"], row["schema_oid"])
    for value, right, reason in zip(found, expected, _BROKEN, strict=True):
        if value != right:
            raise broken(migration, reason)


def _names(path: str) -> list[str]:
    """Return the schemas in *path*; the server quotes a name that is a word of SQL."""
    return [name.strip().strip('"') for name in path.split(",")]


def _words(error: BaseException) -> str:
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
