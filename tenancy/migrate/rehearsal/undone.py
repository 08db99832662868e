"""A transaction that cannot be committed, whatever is run in it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tenancy.identifiers import quoted
from tenancy.migrate.upgrade.session import unprivileged
from tenancy.settings import Settings

GUARD = "tenancy_rehearsal_is_never_committed"
IDLE_MILLISECONDS = 60_000  # of a process that was stopped in the middle, locks and all

# Two equal values under a unique constraint that is looked at by COMMIT alone: it must fail. The
# connection lent to a Python file can say COMMIT; nothing of it may stay. Or ROLLBACK: what comes
# after that may only read.
_ONLY_READS = "SET default_transaction_read_only = on"
_BEGIN = """
    BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL idle_in_transaction_session_timeout = {idle:d};
    CREATE SCHEMA {schema};
    CREATE TABLE {schema}.guard (
        value integer, CONSTRAINT {guard} UNIQUE (value) DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO {schema}.guard VALUES (1), (1)
"""


@asynccontextmanager
async def undone(conn: asyncpg.Connection, settings: Settings) -> AsyncIterator[None]:
    """Begin a transaction on *conn*, and roll it back at the end of the block.

    Discard *conn* then: it reads only.

    Raises:
        DatabaseSetupError: the login may not create schemas.
    """
    schema = quoted(f"tenancy_guard_{secrets.token_hex(8)}")
    await conn.execute(_ONLY_READS)  # by itself: within that transaction it would go with it
    try:
        await conn.execute(_BEGIN.format(idle=IDLE_MILLISECONDS, schema=schema, guard=GUARD))
    except asyncpg.InsufficientPrivilegeError as error:
        await conn.execute("ROLLBACK")
        raise unprivileged(settings, "a schema to try the files in") from error
    try:
        yield
        await conn.execute("ROLLBACK")
    except BaseException:
        conn.terminate()  # a server that loses its client rolls back too
        raise
