"""A schema's shape as one digest, made on the server (sql/catalog/0005_shape.sql)."""

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.ledger.records import SchemaRef


async def fingerprint(conn: asyncpg.Connection, schema: SchemaRef) -> str:
    """Return the digest of all objects in *schema*, free of its own name: ``18:<sha256>``.

    Two schemas have the same one if the same files were applied to them and nobody else has changed
    anything, whatever they are called and in whichever way they got there: dropped columns leave no
    trace in it, nor does the schema's name in a text that a file has put it into. Another tenant's
    name does. Rows and the values of sequences are not part of it, nor are the rights that every
    tenant is given: a schema made from the files alone has the fingerprint of a tenant's. It begins
    with the server's major version, for the next one may print the same definition in other words.

    Inside of a transaction or not; the session's path stays as it is.

    Raises:
        MigrationError: the schema does not exist.
    """
    found: str | None = await conn.fetchval("SELECT tenancy.fingerprint($1)", schema.oid)
    if found is None:
        raise gone(schema)
    return found


def gone(schema: SchemaRef) -> MigrationError:
    """Return the error of a schema that was dropped."""
    return MigrationError(f"the schema {schema.name} does not exist any more")
