"""What the server's catalog says of a statement whose end nobody has seen."""

from enum import Enum, auto

import asyncpg

from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.ledger.steps import Attempt
from tenancy.migrate.upgrade.session import UNLIMITED_SECONDS
from tenancy.migrate.upgrade.units import Means, Unit


class Truth(Enum):
    """What is to be done about it."""

    DONE = auto()
    AGAIN = auto()
    UNKNOWN = auto()


# Of one table (or of all of the schema) in the schema; the names for a statement.
_INDEXES = """
    SELECT i.indexrelid AS oid, i.indisvalid AND i.indisready AS valid, c.relname AS name,
           pg_catalog.format('%I.%I', n.nspname, c.relname) AS named, i.indrelid AS table_oid
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::name
"""
_OF_TABLE = _INDEXES + " AND t.relname = $2::name"
_BY_NAME = _INDEXES + " AND c.relname = $2::name"
_LEFT = _INDEXES + r" AND NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'"

# One that is being built is INVALID too. Its builder locks the table; a vacuum does so as well.
_BUILDERS = """
    SELECT l.pid FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_stat_progress_create_index AS p ON p.pid = l.pid
    WHERE l.relation = $1 AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
      AND l.pid <> pg_catalog.pg_backend_pid()
"""
_ATTACHED = """
    SELECT i.inhdetachpending,
           pg_catalog.format('ALTER TABLE %I.%I DETACH PARTITION %I.%I FINALIZE',
                             pn.nspname, p.relname, cn.nspname, c.relname) AS finalize
    FROM pg_catalog.pg_inherits AS i
    JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
    JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
    JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
    JOIN pg_catalog.pg_namespace AS cn ON cn.oid = c.relnamespace
    WHERE pn.nspname = $1::name AND p.relname = $2::name
      AND cn.nspname = $3::name AND c.relname = $4::name
"""


async def indexes(
    conn: asyncpg.Connection, schema: SchemaRef, unit: Unit
) -> tuple[int, ...] | None:
    """Return the table's indexes, where *unit* builds one without a name; else None."""
    if unit.means is not Means.BUILD or unit.names[0]:
        return None
    rows = await conn.fetch(_OF_TABLE, *_at(schema, unit.names[1]))
    return tuple(row["oid"] for row in rows)


async def look(conn: asyncpg.Connection, schema: SchemaRef, unit: Unit, step: Attempt) -> Truth:
    """Return what has become of *unit*, which was begun as *step*."""
    if unit.means is Means.BUILD:
        return await _built(conn, schema, unit, step)
    if unit.means is Means.DROP:
        found = await conn.fetch(_BY_NAME, *_at(schema, unit.names[0]))
        return Truth.AGAIN if found else Truth.DONE
    if unit.means is Means.DETACH:
        parent, partition = unit.names
        row = await conn.fetchrow(_ATTACHED, *_at(schema, parent), *_at(schema, partition))
        return Truth.AGAIN if row else Truth.DONE
    if unit.means in {Means.REBUILD, Means.REPEATABLE}:
        return Truth.AGAIN
    return Truth.UNKNOWN


async def clear(
    conn: asyncpg.Connection, schema: SchemaRef, unit: Unit, before: tuple[int, ...] | None = None
) -> bool:
    """Take away what a broken attempt at *unit* has left; return whether *unit* is done by that.

    Before the first attempt too: IF NOT EXISTS takes an INVALID index for a good one. *before* are
    the table's indexes before an attempt at one without a name.

    Raises:
        LockNotAvailableError: somebody else is building that index now.
    """
    if unit.means is Means.DETACH:
        parent, partition = unit.names
        row = await conn.fetchrow(_ATTACHED, *_at(schema, parent), *_at(schema, partition))
        if row is not None and row["inhdetachpending"]:
            await conn.execute(row["finalize"], timeout=UNLIMITED_SECONDS)
            return True
    for row in await _broken(conn, schema, unit, before):
        if await conn.fetch(_BUILDERS, row["table_oid"]):
            raise asyncpg.LockNotAvailableError(
                f"another session is building the index {row['name']}"
            )
        await conn.execute(
            f"DROP INDEX CONCURRENTLY IF EXISTS {row['named']}", timeout=UNLIMITED_SECONDS
        )
    return False


async def _broken(
    conn: asyncpg.Connection, schema: SchemaRef, unit: Unit, before: tuple[int, ...] | None
) -> list[asyncpg.Record]:
    if unit.means is Means.REBUILD:
        return list(await conn.fetch(_LEFT, schema.name))
    if unit.means is not Means.BUILD:
        return []
    index, table = unit.names
    if index:
        # An index is where its table is, whatever its name says.
        found = await conn.fetch(_BY_NAME, *_at(schema, (*table[:-1], index[-1])))
    else:
        found = [
            row
            for row in await conn.fetch(_OF_TABLE, *_at(schema, table))
            if before is not None and row["oid"] not in before
        ]
    return [row for row in found if not row["valid"]]


async def _built(conn: asyncpg.Connection, schema: SchemaRef, unit: Unit, step: Attempt) -> Truth:
    index, table = unit.names
    if index:
        found = await conn.fetch(_BY_NAME, *_at(schema, (*table[:-1], index[-1])))
    else:
        rows = await conn.fetch(_OF_TABLE, *_at(schema, table))
        found = [row for row in rows if row["oid"] not in (step.indexes or ())]
    if len(found) > 1:
        return Truth.UNKNOWN  # somebody has built others meanwhile
    return Truth.DONE if found and found[0]["valid"] else Truth.AGAIN


def _at(schema: SchemaRef, name: tuple[str, ...]) -> tuple[str, str]:
    """Return schema and name of what is called *name*, in the schema's path."""
    return (name[-2] if len(name) > 1 else schema.name), name[-1]
