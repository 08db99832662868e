"""Going through a table along a unique key, a range of rows at a time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.ledger.records import SchemaRef

_NO_JSON = {"A", "C"}  # arrays and rows: what they become as JSON cannot be read back as text

_KEYS = """
    SELECT format('%I.%I', n.nspname, c.relname) AS table, i.indisprimary AS primary,
           array_agg(a.attname::text ORDER BY k.position) AS names,
           array_agg(quote_ident(a.attname) ORDER BY k.position) AS columns,
           array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY k.position) AS types,
           array_agg(t.typcategory::text ORDER BY k.position) AS categories,
           bool_and(a.attnotnull) AS filled
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid AND i.indisunique AND i.indisvalid
         AND i.indpred IS NULL AND i.indexprs IS NULL
    LEFT JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, position)
         ON k.position <= i.indnkeyatts
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
    LEFT JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    WHERE c.relnamespace = $1 AND c.relname = $2::text::name AND c.relkind IN ('r', 'p')
    GROUP BY n.nspname, c.relname, i.indexrelid, i.indisprimary
    ORDER BY i.indisprimary DESC NULLS LAST, i.indexrelid
"""


@dataclass(frozen=True, slots=True)
class Keyset:
    """A table, and the unique key along which it is gone through.

    Attributes:
        table, columns, types: SQL text, as the server has quoted it.
        where: an SQL condition on the table's columns.
    """

    table: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    where: str

    @property
    def estimate(self) -> str:
        """SQL that tells, by the planner's word, how many rows there are."""
        return f"EXPLAIN (FORMAT JSON) SELECT FROM {self.table} WHERE ({self.where}\n)"

    def read(self) -> str:
        """Return SQL that makes a key of its parameter $1, a cursor in JSON."""
        values = (f"($1::jsonb ->> {at})::{kind}" for at, kind in enumerate(self.types))
        return f"SELECT {', '.join(values)}"

    def parameters(self, first: int) -> str:
        """Return a list of parameters from number *first* on that stand for a key."""
        return ", ".join(f"${first + at}::{kind}" for at, kind in enumerate(self.types))

    def next(self, *, begun: bool) -> str:
        """Return SQL for the first $1 keys; where *begun*, for those after the key in $2 and on.

        It answers one row: of each column its values in the keys' order, or NULL.
        """
        columns = ", ".join(self.columns)
        after = f" AND ({columns}) > ({self.parameters(2)})" if begun else ""
        # The line's end ends a comment in the condition. What is aggregated comes in its order.
        return (
            f"SELECT {', '.join(f'array_agg({column})' for column in self.columns)} FROM ("
            f"SELECT {columns} FROM {self.table} WHERE ({self.where}\n){after} "
            f"ORDER BY {columns} LIMIT $1) AS batch"
        )


async def keyset(
    conn: asyncpg.Connection, schema: SchemaRef, table: str, key: Sequence[str], where: str
) -> Keyset:
    """Return the way through *table* along *key*; an empty one: along the primary key.

    Raises:
        MigrationError: there is no such table, or a row could be met twice or never on this way.
    """
    found = await conn.fetch(_KEYS, schema.oid, table)
    if not found:
        raise MigrationError(f"batches: {table!r} is no table of this schema")
    for row in found:
        if row["primary"] if not key else list(key) == row["names"]:
            if not row["filled"]:
                raise MigrationError(f"batches: a column of the key of {table} may be NULL")
            if _NO_JSON & set(row["categories"]) or "jsonb" in row["types"]:
                raise MigrationError(f"batches: {table} has a key of a type that has no order here")
            return Keyset(row["table"], tuple(row["columns"]), tuple(row["types"]), where)
    wanted = f"unique index on ({', '.join(key)}), in this order" if key else "primary key"
    raise MigrationError(
        f"batches: {table} has no {wanted}: without one rows would be left out or met twice; "
        "name the columns of a unique index, all NOT NULL, in key="
    )


def rows(plan: str) -> int:
    """Return how many rows the plan of `Keyset.estimate` expects."""
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"])
