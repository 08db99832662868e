"""A schema in which no request writes."""

from collections.abc import Iterable

import asyncpg

from tenancy.errors import MoveError
from tenancy.identifiers import quoted, quoted_login
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.provision import Administrator

WAIT_SECONDS = 30

_TABLES = """
    SELECT c.relname::text AS name FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = $1 AND c.relkind IN ('r', 'p') ORDER BY c.relname
"""
_WRITABLE = """
    SELECT count(*) > 0 FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = $1 AND c.relkind IN ('r', 'p', 'v') AND (
        pg_catalog.has_any_column_privilege($2, c.oid, 'INSERT, UPDATE')
        OR pg_catalog.has_table_privilege($2, c.oid, 'DELETE, TRUNCATE'))
"""
# A function that runs as its owner writes whatever rights its caller has.
_LENDS = """
    SELECT count(*) > 0 FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = $1 AND p.prosecdef
"""


async def silenced(admin: Administrator, schema: SchemaRef) -> bool:
    """Wait for requests that write in *schema*, then take the right to from all that come after.

    Whether none can write any more: not where they run as the tables' owner, or PUBLIC may, or a
    function of the schema's runs as that owner.

    Raises:
        MoveError: somebody who writes did not come to an end.
    """
    conn = admin.connection
    name, is_owner = await admin.rights.grantee(schema.name)
    if is_owner:
        return False
    async with conn.transaction():
        await hold(conn, await locks(conn, schema))
        await conn.execute(
            "REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA "
            f"{quoted(schema.name)} FROM {quoted_login(name)}"
        )
    return not await writable(admin, schema) and not await conn.fetchval(_LENDS, schema.oid)


async def writable(admin: Administrator, schema: SchemaRef) -> bool:
    """Whether requests may write in *schema*."""
    name, _ = await admin.rights.grantee(schema.name)
    return bool(await admin.connection.fetchval(_WRITABLE, schema.oid, name))


async def locks(conn: asyncpg.Connection, schema: SchemaRef) -> list[str]:
    """Return the SQL that waits until nobody writes in *schema*, and lets nobody begin.

    SHARE locks: reading goes on ("Explicit Locking"). A snapshot that is taken after them has all
    that was written.
    """
    rows = await conn.fetch(_TABLES, schema.oid)
    names = ", ".join(f"{quoted(schema.name)}.{quoted_login(row['name'])}" for row in rows)
    if not names:
        return []
    return [f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'", f"LOCK TABLE {names} IN SHARE MODE"]


async def hold(conn: asyncpg.Connection, found: Iterable[str]) -> None:
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
