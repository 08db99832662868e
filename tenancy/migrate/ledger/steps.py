"""What has become of each statement of a file that is no single transaction.

Every name and operator is qualified: these run under a schema's path.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg

from tenancy.identifiers import literal
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.ledger.texts import of_version, run

_CLAIM = "steps_pkey"


class Direction(StrEnum):
    """Whether a file is applied or taken back."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Place:
    """Of which statement is spoken: *number* counts from 1."""

    schema: SchemaRef
    version: str
    direction: Direction
    number: int = 0

    def sql(self) -> str:
        """Return the SQL condition on its row; of number 0: on those of the whole file."""
        of_file = (
            f"{of_version(self.schema, self.version)} "
            f"AND direction OPERATOR(pg_catalog.=) {literal(self.direction)}"
        )
        of_step = f" AND step OPERATOR(pg_catalog.=) {self.number:d}"
        return of_file + (of_step if self.number else "")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A statement that was begun.

    Attributes:
        statement: sha256 of its text.
        finished: false: it is in doubt.
        again: whether somebody has decided that it is to be run again.
        indexes: of the table, before one without a name was built on it.
    """

    number: int
    statement: str
    started_at: datetime
    finished: bool
    again: bool
    indexes: tuple[int, ...] | None


async def of_file(conn: asyncpg.Connection, place: Place) -> dict[int, Attempt]:
    """Return the statements of a file that were begun, by number."""
    rows = await conn.fetch(f"SELECT * FROM tenancy.steps WHERE {place.sql()} ORDER BY step")
    return {row["step"]: _attempt(row) for row in rows}


async def unfinished(conn: asyncpg.Connection, oid: int) -> list[str]:
    """Return the versions of which a part was done in the schema with this *oid*, in order."""
    rows = await conn.fetch(
        "SELECT version FROM (SELECT version FROM tenancy.steps WHERE schema_oid = $1 UNION "
        "SELECT version FROM tenancy.backfills WHERE schema_oid = $1 AND cursor IS NOT NULL) AS b "
        "WHERE NOT EXISTS (SELECT FROM tenancy.migrations AS m "
        "WHERE m.schema_oid = $1 AND m.version = b.version) ORDER BY version",
        oid,
    )
    return [row["version"] for row in rows]


async def doubtful(conn: asyncpg.Connection, oid: int) -> list[str]:
    """Return the versions, up or down, with a statement in doubt in the schema with this *oid*."""
    rows = await conn.fetch(
        "SELECT DISTINCT version FROM tenancy.steps WHERE schema_oid = $1 AND finished_at IS NULL",
        oid,
    )
    return [row["version"] for row in rows]


def begin(
    place: Place, statement: str, run_id: UUID | None, indexes: Sequence[int] | None = None
) -> str:
    """Return the SQL that says a statement is begun; whoever comes second fails: `is_begun`."""
    return _insert(place, statement, run_id, indexes, "NULL")


def done(place: Place, statement: str, run_id: UUID | None) -> str:
    """Return the SQL that says a statement is done, for the transaction that does it."""
    return _insert(place, statement, run_id, None, "pg_catalog.clock_timestamp()")


def begin_again(place: Place, last: Attempt, run_id: UUID | None) -> str:
    """Return the SQL that begins a statement again; it finds a row if nobody else has."""
    return (
        "UPDATE tenancy.steps SET started_at = pg_catalog.clock_timestamp(), "
        f"resolved_by = NULL, run_id = {run(run_id)} WHERE {place.sql()} "
        f"AND started_at OPERATOR(pg_catalog.=) {literal(last.started_at.isoformat())} "
        "AND finished_at IS NULL RETURNING 1"
    )


def finish(place: Place) -> str:
    """Return the SQL that ends a statement which was begun; it finds a row if that was so."""
    return (
        "UPDATE tenancy.steps SET finished_at = pg_catalog.clock_timestamp() "
        f"WHERE {place.sql()} AND finished_at IS NULL RETURNING 1"
    )


def forget(place: Place) -> str:
    """Return the SQL that takes rows out: of a statement that failed, or of a file taken back."""
    return f"DELETE FROM tenancy.steps WHERE {place.sql()}"


def is_begun(error: BaseException) -> bool:
    """Whether *error* is `begin`'s, because somebody else was faster."""
    return (
        isinstance(error, asyncpg.UniqueViolationError)
        and error.constraint_name == _CLAIM
        and error.schema_name == "tenancy"
    )


async def resolve(conn: asyncpg.Connection, place: Place, *, is_done: bool) -> bool:
    """Note what a person has decided of a statement in doubt; return whether there was one."""
    finished = "pg_catalog.clock_timestamp()" if is_done else "NULL"
    found = await conn.fetchval(
        f"UPDATE tenancy.steps SET resolved_by = session_user, finished_at = {finished} "
        f"WHERE {place.sql()} AND finished_at IS NULL RETURNING 1"
    )
    return found is not None


def _insert(
    place: Place, statement: str, run_id: UUID | None, indexes: Sequence[int] | None, finished: str
) -> str:
    schema = place.schema
    oids = "NULL" if indexes is None else literal(f"{{{','.join(map(str, indexes))}}}")
    names = map(literal, (place.version, place.direction, schema.name, statement))
    version, direction, name, digest = names
    return (
        "INSERT INTO tenancy.steps (schema_oid, version, direction, step, schema_name, statement, "
        f"run_id, indexes, finished_at) VALUES ({schema.oid:d}, {version}, {direction}, "
        f"{place.number:d}, {name}, {digest}, {run(run_id)}, {oids}, {finished})"
    )


def _attempt(row: asyncpg.Record) -> Attempt:
    return Attempt(
        row["step"],
        row["statement"],
        row["started_at"],
        row["finished_at"] is not None,
        row["finished_at"] is None and row["resolved_by"] is not None,
        None if row["indexes"] is None else tuple(row["indexes"]),
    )
