"""A schema's shape as one digest, made on the server (sql/catalog/0005_shape.sql)."""

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.ledger.records import SchemaRef


async def fingerprint(conn: asyncpg.Connection, schema: SchemaRef) -> str:
    """Return the digest of all objects in *schema*, free of its own name: ``18:<sha256>``.

    Two schemas have the same one if the same files were applied to them and nobody else has changed
    anything, whatever they are called and in whichever way they got there: dropped columns leave no
    trace in it. Rows and the values of sequences are not part of it. It begins with the server's
    major version, for the next one may print the same definition in other words.

    Takes from 1 ms for one table to 30 ms for a hundred, inside of a transaction or not, and leaves
    the session's path as it is.

    Raises:
        MigrationError: the schema does not exist.
    """
    found: str | None = await conn.fetchval("SELECT tenancy.fingerprint($1)", schema.oid)
    if found is None:
        raise MigrationError(f"the schema {schema.name} does not exist any more")
    return found
