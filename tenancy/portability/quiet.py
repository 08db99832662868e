"""A schema in which nobody writes, held so by locks."""

from collections.abc import Sequence

import asyncpg

from tenancy.errors import MoveError
from tenancy.identifiers import quoted, quoted_login
from tenancy.migrate.ledger.records import SchemaRef

WAIT_SECONDS = 30

_TABLES = """
    SELECT c.relname::text AS name FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = $1 AND c.relkind IN ('r', 'p') ORDER BY c.relname
"""


async def locks(conn: asyncpg.Connection, schema: SchemaRef) -> list[str]:
    """Return the SQL that waits until nobody writes in *schema*, and lets nobody begin.

    It is for a transaction that has asked nothing yet: so its snapshot has all that was written.
    SHARE locks: reading goes on ("Explicit Locking").
    """
    rows = await conn.fetch(_TABLES, schema.oid)
    names = ", ".join(f"{quoted(schema.name)}.{quoted_login(row['name'])}" for row in rows)
    return [f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'", f"LOCK TABLE {names} IN SHARE MODE"][
        : 2 if names else 0
    ]


async def hold(conn: asyncpg.Connection, found: Sequence[str]) -> None:
    """Take the locks of `locks`, until the open transaction ends.

    Raises:
        MoveError: somebody who writes did not come to an end.
    """
    try:
        for sql in found:
            await conn.execute(sql)
    except asyncpg.LockNotAvailableError as error:
        raise MoveError(
            f"somebody has written in the tenant's tables and is not done after {WAIT_SECONDS} s: "
            "look in pg_stat_activity for who is in a transaction, and try again"
        ) from error
