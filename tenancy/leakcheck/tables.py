"""What the tables of a tenant look like: columns, keys and checks, from the catalog."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

_TABLES = """
    SELECT c.oid::int8 AS oid, c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY c.relname
"""
_COLUMNS = """
    SELECT a.attrelid::int8 AS oid, a.attnum AS number, a.attname AS name,
           quote_ident(a.attname) AS quoted, format_type(a.atttypid, a.atttypmod) AS declared,
           b.typname AS base, b.typcategory::text AS category, b.typtype = 'e' AS is_enum,
           coalesce(e.typcategory = 'S', false) AS is_text_array,
           a.attnotnull OR t.typnotnull AS required,
           a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL AS has_default,
           a.attgenerated <> '' AS generated,
           CASE WHEN b.typname IN ('varchar', 'bpchar')
                THEN nullif(greatest(a.atttypmod, t.typtypmod), -1) - 4 END AS length,
           a.atttypmod <> -1 AS limited,
           array(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = b.oid
                 ORDER BY enumsortorder) AS labels,
           array(SELECT pg_get_constraintdef(oid) FROM pg_constraint
                 WHERE contypid = t.oid AND contype = 'c') AS domain_checks,
           t.typname AS type_name
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
    LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
    WHERE a.attrelid = ANY($1::int8[]) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""
_CONSTRAINTS = """
    SELECT conrelid::int8 AS oid, contype::text AS kind, conname AS name, conkey AS columns,
           confrelid::int8 AS target, confkey AS target_columns,
           pg_get_constraintdef(c.oid) AS definition,
           (SELECT format('%I.%I', n.nspname, r.relname) FROM pg_class r
            JOIN pg_namespace n ON n.oid = r.relnamespace WHERE r.oid = confrelid) AS target_quoted,
           array(SELECT quote_ident(attname)
                 FROM unnest(confkey) WITH ORDINALITY AS k(number, place)
                 JOIN pg_attribute ON attrelid = confrelid AND attnum = number
                 ORDER BY place) AS target_names
    FROM pg_constraint c
    WHERE conrelid = ANY($1::int8[]) AND contype IN ('p', 'f', 'c')
"""
_CONSTANT = re.compile(r"'((?:[^']|'')*)'::")


@dataclass(slots=True)
class Column:
    """One column.

    Attributes:
        declared: its type as SQL writes it.
        base: the type's own name; of a domain, the one beneath.
        allowed: constants that its checks name: perhaps the only values that pass.
    """

    number: int
    name: str
    quoted: str
    declared: str
    base: str
    category: str
    type_name: str
    required: bool
    has_default: bool
    generated: bool
    is_enum: bool
    is_text_array: bool
    limited: bool
    length: int | None
    labels: list[str]
    allowed: list[str] = field(default_factory=list)
    is_key: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: *columns* hold the *target_columns* of a row of *target*."""

    columns: tuple[int, ...]
    target: int
    target_quoted: str
    target_columns: tuple[str, ...]


@dataclass(slots=True)
class Table:
    """One table of a tenant, or the one that all tenants' rows are in."""

    oid: int
    name: str
    quoted: str
    columns: dict[int, Column] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    checks: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def column(self, name: str) -> Column | None:
        """Return the column called *name*."""
        return next((c for c in self.columns.values() if c.name == name), None)

    @property
    def key(self) -> list[Column]:
        """The primary key's columns."""
        return [column for column in self.columns.values() if column.is_key]


async def tables(conn: asyncpg.Connection, schema: str) -> list[Table]:
    """Return the tables of *schema*, those that others refer to first."""
    found = {row["oid"]: Table(**row) for row in await conn.fetch(_TABLES, schema)}
    for row in await conn.fetch(_COLUMNS, list(found)):
        found[row["oid"]].columns[row["number"]] = _column(row)
    for row in await conn.fetch(_CONSTRAINTS, list(found)):
        _constrain(found[row["oid"]], row)
    return _in_order(list(found.values()))


def _column(row: asyncpg.Record) -> Column:
    members = {k: v for k, v in row.items() if k not in ("oid", "domain_checks")}
    return Column(**members, allowed=_constants(row["domain_checks"]))


def _constrain(table: Table, row: asyncpg.Record) -> None:
    numbers = tuple(row["columns"])
    match row["kind"]:
        case "p":
            for number in numbers:
                table.columns[number].is_key = True
        case "f":
            names = tuple(row["target_names"])
            table.references.append(Reference(numbers, row["target"], row["target_quoted"], names))
        case "c":
            table.checks[row["name"]] = numbers
            for number in numbers:
                table.columns[number].allowed += _constants([row["definition"]])


def _constants(definitions: Sequence[str]) -> list[str]:
    return [c.replace("''", "'") for text in definitions for c in _CONSTANT.findall(text)]


def _in_order(found: list[Table]) -> list[Table]:
    """Return *found* with each table after those it refers to, as far as there is such an order."""
    ordered: list[Table] = []
    waiting = found
    while waiting:
        missing = {table.oid for table in waiting}
        ready = [t for t in waiting if not missing & {r.target for r in t.references} - {t.oid}]
        ready = ready or waiting[:1]  # a circle: nullable references break it
        ordered += ready
        waiting = [table for table in waiting if table not in ready]
    return ordered
