"""How far the backfills of files have come: all SQL on ``tenancy.backfills``.

A row is moved on in the transaction of the batch that it speaks of, so that a batch is done exactly
where its row says so. Every name is qualified: these run under a schema's path.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.ledger.records import SchemaRef


class BackfillMovedError(MigrationError):
    """Somebody else has moved this backfill on: nothing of this batch is kept."""

    code = "backfill_moved"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one loop of one file has come in one schema.

    Attributes:
        name: tells it from other loops of the file.
        cursor: the key it came to, as JSON; None: it has not begun. Holds data of the tenant.
    """

    schema: SchemaRef
    version: str
    name: str
    cursor: str | None = None
    done: int = 0
    total: int | None = None
    finished: bool = False


async def begin(
    conn: asyncpg.Connection, schema: SchemaRef, version: str, name: str, columns: Sequence[str]
) -> Mark:
    """Return the backfill *name*, begun now or by an earlier run.

    Args:
        conn: in no transaction, or in one that is rolled back where this raises.
        schema: whose rows they are.
        version: of the file.
        name: of the loop.
        columns: what it goes along, as SQL names, with the table's first.

    Raises:
        MigrationError: an earlier run went along other columns: its cursor is none of these.
    """
    await conn.execute(
        "INSERT INTO tenancy.backfills (schema_oid, version, name, schema_name, columns) "
        "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        *(schema.oid, version, name, schema.name, list(columns)),
    )
    row = await conn.fetchrow(
        "SELECT cursor::text AS cursor, done, total, columns, "
        "finished_at IS NOT NULL AS finished FROM tenancy.backfills "
        "WHERE schema_oid = $1 AND version = $2 "
        "AND name = $3",
        *(schema.oid, version, name),
    )
    if row["columns"] != list(columns):
        raise MigrationError(
            f"the backfill {name} went along {', '.join(row['columns'])} before, and now along "
            f"{', '.join(columns)}: give it another name, and it begins at the beginning"
        )
    return Mark(schema, version, name, row["cursor"], row["done"], row["total"], row["finished"])


async def move(
    conn: asyncpg.Connection, mark: Mark, key: Sequence[object], types: str, rows: int
) -> str:
    """Move *mark* on to *key* by *rows*, in the transaction of the batch; return the cursor.

    Args:
        conn: in that transaction.
        mark: where it stood before.
        key: the last one of the batch.
        types: an SQL list of parameters from $7 on, each cast to its column's type.
        rows: of the batch.

    Raises:
        BackfillMovedError: it does not stand there.
    """
    cursor: str | None = await conn.fetchval(
        f"UPDATE tenancy.backfills SET cursor = jsonb_build_array({types}), "
        "done = $5, total = $6, updated_at = clock_timestamp() "
        f"WHERE {_WHERE_IT_STOOD} RETURNING cursor::text",
        *_where(mark),
        mark.done + rows,
        mark.total,
        *key,
    )
    if cursor is None:
        raise BackfillMovedError(_MOVED.format(mark.name))
    return cursor


async def finish(conn: asyncpg.Connection, mark: Mark) -> None:
    """Note that *mark* has come to its end.

    Raises:
        BackfillMovedError: it does not stand where *mark* says.
    """
    found = await conn.fetchval(
        "UPDATE tenancy.backfills SET total = done, "
        "finished_at = clock_timestamp(), updated_at = clock_timestamp() "
        f"WHERE {_WHERE_IT_STOOD} RETURNING true",
        *_where(mark),
    )
    if found is None:
        raise BackfillMovedError(_MOVED.format(mark.name))


# The cursor too: a session that has lost its lock without knowing does nothing a second time.
_WHERE_IT_STOOD = (
    "schema_oid = $1 AND version = $2 "
    "AND name = $3 AND finished_at IS NULL "
    "AND cursor IS NOT DISTINCT FROM $4::jsonb"
)
_MOVED = "the backfill {} does not stand where this run left it: somebody else is at it"


def _where(mark: Mark) -> tuple[object, ...]:
    return mark.schema.oid, mark.version, mark.name, mark.cursor
