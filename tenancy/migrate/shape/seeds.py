"""The rows that a tenant's files insert: read from a schema, and written as SQL."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import asyncpg

from tenancy.identifiers import quoted
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.dump import PLACEHOLDER

ROWS_PER_INSERT = 100

# The server writes each value as a constant that every server reads as that value.
_EXACT = (
    "SET LOCAL search_path = ''; SET LOCAL row_security = off; SET LOCAL timezone = 'UTC'; "
    "SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = postgres; "
    "SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = hex; SET LOCAL xmloption = content"
)
_TABLES = """
    SELECT pg_catalog.quote_ident(c.relname) AS name,
           c.relrowsecurity AND c.relforcerowsecurity AS hidden,
           pg_catalog.array_agg(pg_catalog.quote_ident(a.attname) ORDER BY a.attnum) AS columns,
           pg_catalog.array_agg(
               a.attidentity <> '' OR d.oid IS NOT NULL ORDER BY a.attnum) AS defaults,
           pg_catalog.array_agg(
               CASE WHEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) = 'CURRENT_DATE'
               THEN pg_catalog.quote_literal(current_date) END ORDER BY a.attnum) AS today,
           pg_catalog.bool_or(a.attidentity = 'a') AS always
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = $1 AND c.relkind = 'r'
    GROUP BY c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity
    ORDER BY c.relname COLLATE "C"
"""
_SEQUENCES = """
    SELECT pg_catalog.quote_ident(c.relname) AS name, s.seqstart AS start
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = c.oid
    WHERE c.relnamespace = $1 ORDER BY c.relname COLLATE "C"
"""

Row = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with rows.

    Attributes:
        name: as an SQL identifier.
        columns: likewise, without generated ones.
        defaults: which columns the server fills where no value is given.
        today: the constant that a column's default is today alone.
        always: whether one column is GENERATED ALWAYS AS IDENTITY.
        rows: each value as an SQL constant with `PLACEHOLDER` for the schema's name, or None: what
            its default gives; in the order in which they were inserted.
    """

    name: str
    columns: tuple[str, ...]
    defaults: tuple[bool, ...]
    today: tuple[str | None, ...]
    always: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence that is not at its start."""

    name: str
    last: int
    called: bool


@dataclass(frozen=True, slots=True)
class Seeds:
    """All rows of a schema, and how far its sequences have come."""

    tables: tuple[Table, ...]
    sequences: tuple[Sequence, ...]

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(len(table.rows) for table in self.tables)


async def read(conn: asyncpg.Connection, schema: SchemaRef) -> Seeds:
    """Return the rows of *schema*, whose owner *conn* is; changes nothing."""
    transaction = conn.transaction()
    await transaction.start()
    try:
        await conn.execute(_EXACT)
        tables = [await _table(conn, schema, row) for row in await conn.fetch(_TABLES, schema.oid)]
        sequences = [
            await _sequence(conn, schema, row) for row in await conn.fetch(_SEQUENCES, schema.oid)
        ]
    finally:
        await transaction.rollback()
    return Seeds(tuple(one for one in tables if one.rows), tuple(one for one in sequences if one))


def settled(once: Seeds, again: Seeds) -> tuple[Seeds, list[str]]:
    """Return the rows of two replays of the same files as one, and what cannot be one.

    A value that differs, such as the time or a random key, is left to the column's default. Where
    there is none, its column is named, and the value stays that of *once*.
    """
    others = {table.name: table for table in again.tables}
    found = [_settled(table, others.pop(table.name, None)) for table in once.tables]
    faults = [fault for _, more in found for fault in more] + [*others]
    if once.sequences != again.sequences:
        moved = {*once.sequences} ^ {*again.sequences}
        faults += sorted({sequence.name for sequence in moved})
    return replace(once, tables=tuple(table for table, _ in found)), faults


def same(expected: Seeds, found: Seeds) -> list[str]:
    """Return the names of tables and sequences in which *found* is not as *expected*."""
    others = {table.name: table for table in found.tables}
    faults = [
        table.name
        for table in expected.tables
        if not _same_rows(table.rows, others[table.name].rows if table.name in others else ())
    ]
    faults += sorted({*others} - {table.name for table in expected.tables})
    return faults + sorted({one.name for one in {*expected.sequences} ^ {*found.sequences}})


def statements(seeds: Seeds) -> Iterator[str]:
    """Yield the SQL that inserts *seeds* into tables without constraints, and sets sequences."""
    for table in seeds.tables:
        for given, group in groupby(table.rows, key=lambda row: [cell is not None for cell in row]):
            rows = list(group)
            for start in range(0, len(rows), ROWS_PER_INSERT):
                yield _insert(table, given, rows[start : start + ROWS_PER_INSERT])
    for one in seeds.sequences:
        # The name is an identifier in a constant: its quotes are doubled once more.
        name = one.name.replace("'", "''")
        called = "true" if one.called else "false"
        yield f"SELECT pg_catalog.setval('{name}'::regclass, {one.last}, {called})"


# The parts


async def _table(conn: asyncpg.Connection, schema: SchemaRef, row: asyncpg.Record) -> Table:
    name = f"{quoted(schema.name)}.{row['name']}"
    if row["hidden"]:  # from its owner too; the transaction is rolled back
        await conn.execute(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")
    values = ", ".join(f"pg_catalog.quote_nullable({column}::text)" for column in row["columns"])
    rows = await conn.fetch(f"SELECT {values} FROM ONLY {name} ORDER BY ctid")
    return Table(
        row["name"],
        tuple(row["columns"]),
        tuple(row["defaults"]),
        tuple(row["today"]),
        row["always"],
        tuple(tuple(cell.replace(schema.name, PLACEHOLDER) for cell in one) for one in rows),
    )


async def _sequence(
    conn: asyncpg.Connection, schema: SchemaRef, row: asyncpg.Record
) -> Sequence | None:
    last, called = await conn.fetchrow(
        f"SELECT last_value, is_called FROM {quoted(schema.name)}.{row['name']}"
    )
    return Sequence(row["name"], last, called) if called or last != row["start"] else None


def _settled(once: Table, again: Table | None) -> tuple[Table, list[str]]:
    if again is None or len(again.rows) != len(once.rows):
        return once, [once.name]
    faults: dict[str, None] = {}
    rows: list[Row] = []
    for first, second in zip(once.rows, again.rows, strict=True):
        row = list(first)
        for at, (value, other) in enumerate(zip(first, second, strict=True)):
            differs = value != other
            if differs and not once.defaults[at]:
                faults[f"{once.name}.{once.columns[at]}"] = None
            elif differs or value == once.today[at]:
                row[at] = None
        rows.append(tuple(row))
    return replace(once, rows=tuple(rows)), list(faults)


def _same_rows(expected: tuple[Row, ...], found: tuple[Row, ...]) -> bool:
    return len(expected) == len(found) and all(
        value is None or value == other
        for row, others in zip(expected, found, strict=True)
        for value, other in zip(row, others, strict=True)
    )


def _insert(table: Table, given: list[bool], rows: list[Row]) -> str:
    columns = ", ".join(c for c, there in zip(table.columns, given, strict=True) if there)
    if not columns:
        return "; ".join([f"INSERT INTO {table.name} DEFAULT VALUES"] * len(rows))
    override = " OVERRIDING SYSTEM VALUE" if table.always else ""
    values = ",\n".join(f"({', '.join(cell for cell in row if cell is not None)})" for row in rows)
    return f"INSERT INTO {table.name} ({columns}){override} VALUES\n{values}"
