"""A schema's shape as one digest, made on the server (sql/catalog/0005_shape.sql)."""

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.ledger.records import SchemaRef


async def fingerprint(
    conn: asyncpg.Connection, schema: SchemaRef, *, tenant: str | None = None
) -> str:
    """Return the digest of all objects in *schema*, free of its own name: ``18:<sha256>``.

    Two schemas have the same one if the same files were applied to them and nobody else has changed
    anything, whatever they are called and in whichever way they got there: dropped columns leave no
    trace in it. Rows and the values of sequences are not part of it. It begins with the server's
    major version, for the next one may print the same definition in other words.

    Inside of a transaction or not; the session's path stays as it is.

    Args:
        conn: of the login that owns the catalog.
        schema: whose objects.
        tenant: the role whose rights count as the tenant's own, which is the one called like the
            schema unless told otherwise.

    Raises:
        MigrationError: the schema does not exist.
    """
    found: str | None = await conn.fetchval(
        "SELECT tenancy.fingerprint($1, pg_catalog.to_regrole(pg_catalog.quote_ident($2)))",
        schema.oid,
        tenant,
    )
    if found is None:
        raise gone(schema)
    return found


def gone(schema: SchemaRef) -> MigrationError:
    """Return the error of a schema that was dropped."""
    return MigrationError(f"the schema {schema.name} does not exist any more")
