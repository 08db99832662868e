"""What the open transaction has changed outside of one schema, from the locks that it holds.

Names are qualified with pg_catalog where a schema's own could stand before them.
"""

from collections.abc import Collection

import asyncpg

# A row's change takes RowExclusiveLock. A foreign key into a shared table takes
# ShareRowExclusiveLock, and goes with the schema.
_CHANGED = """
    SELECT min(pg_catalog.format('%I.%I', n.nspname, c.relname))
    FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted
      AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareRowExclusiveLock')
      AND c.relkind IN ('r', 'p', 'm', 'v', 'S') AND n.nspname <> ALL ($1::text[])
      AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND n.nspname !~ '^pg_(toast_)?temp_'
"""
# Only where there were such rows: what finds nothing to change takes the lock as well.
_ROWS = """
      AND l.mode = 'RowExclusiveLock' AND c.relkind = 'r'
      AND pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid)
        + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
        + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) > 0
"""


async def changed(conn: asyncpg.Connection, schemas: Collection[str], *, rows: bool = False) -> str:
    """Return what the open transaction of *conn* has changed outside of *schemas*; empty: nothing.

    With *rows* only a table of which it has changed rows; else also what it has altered, and what
    it has locked as if to change rows.
    """
    found: str | None = await conn.fetchval(_CHANGED + (_ROWS if rows else ""), list(schemas))
    return found or ""
