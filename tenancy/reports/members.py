"""Which tables a report is over, and whether the server can hold as many locks."""

import asyncpg

from tenancy.errors import ReportTooLargeError
from tenancy.reports.text import Column, Member

# Of the server's lock table: the others have to find room beside it.
SHARE = 2

# What is being made or deleted is no part of a report. Partitions are locked with their table.
_MEMBERS = """
    WITH theirs AS MATERIALIZED (
        SELECT t.id, t.slug, n.oid AS schema FROM tenancy.tenants AS t
        JOIN pg_catalog.pg_namespace AS n ON n.nspname = t.schema_name
        WHERE t.state IN ('active', 'read_only', 'suspended')
    )
    SELECT t.id, t.slug, pg_catalog.quote_ident(n.nspname) || '.'
               || pg_catalog.quote_ident(c.relname) AS quoted,
           (WITH RECURSIVE part (oid) AS (
                SELECT c.oid UNION SELECT i.inhrelid
                FROM part JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid)
            SELECT count(*) + sum((SELECT count(*) FROM pg_catalog.pg_index AS x
                                   WHERE x.indrelid = part.oid)) FROM part)::integer AS locks,
           array_agg(pg_catalog.quote_ident(a.attname) ORDER BY a.attnum) AS names,
           array_agg(a.attnum ORDER BY a.attnum) AS positions,
           array_agg(pg_catalog.format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum) AS exact,
           array_agg(pg_catalog.format_type(a.atttypid, NULL) ORDER BY a.attnum) AS types,
           array_agg(a.attcollation ORDER BY a.attnum) AS collations,
           array_agg(y.typnamespace IN (SELECT schema FROM theirs) ORDER BY a.attnum) AS strange
    FROM theirs AS t JOIN pg_catalog.pg_class AS c ON c.relnamespace = t.schema
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.schema
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
    JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid
    WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY t.id, t.slug, n.nspname, c.relname, c.oid
    ORDER BY t.slug
"""
_CAPACITY = """
    SELECT current_setting('max_locks_per_transaction')::integer AS each,
           current_setting('max_connections')::integer
               + current_setting('max_prepared_transactions')::integer AS sessions
"""


async def of_table(conn: asyncpg.Connection, table: str) -> list[Member]:
    """Return the tables called *table* of the tenants that there are to stay, by slug."""
    return [_member(row) for row in await conn.fetch(_MEMBERS, table)]


async def default_collation(conn: asyncpg.Connection) -> int:
    """Return the oid of the database's default collation."""
    found: int = await conn.fetchval("SELECT 'pg_catalog.\"default\"'::regcollation::oid")
    return found


async def refuse_crowded(conn: asyncpg.Connection, name: str, members: list[Member]) -> None:
    """Pass if a query over *members* leaves half of the server's lock table to the others.

    Raises:
        ReportTooLargeError: it does not; says how many locks, and what to set.
    """
    row = await conn.fetchrow(_CAPACITY)
    locks, room = sum(member.locks for member in members), row["each"] * row["sessions"]
    if SHARE * locks > room:
        raise ReportTooLargeError(
            f"the report {name!r} is over {len(members)} tables, and each query of it would take "
            f"{locks} locks at once, of {room} that the server has for all: set "
            f"max_locks_per_transaction to {-(-SHARE * locks // row['sessions'])} and restart "
            "the server, or ask each tenant by itself with tenancy.each()"
        )


def _member(row: asyncpg.Record) -> Member:
    columns = map(
        Column,
        *(row[key] for key in ("names", "positions", "exact", "types", "collations", "strange")),
    )
    named = {column.name: column for column in columns}
    return Member(row["id"], row["slug"], row["quoted"], named, row["locks"])
