"""Files taken back; what goes into the transaction that does it, as text."""

from uuid import UUID

from tenancy.identifiers import literal
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.ledger.texts import of_version, run

UNFINISHED = "down "  # begins the digest of a schema that is half-way back


def unfinished(version: str) -> str:
    """Return the digest of a schema from which the file of *version* is being taken in steps."""
    return f"{UNFINISHED}{version}"


def unclaim(schema: SchemaRef, migration: Migration) -> str:
    """Return the SQL that takes *migration* out of the ledger; it finds a row if that had it."""
    return (
        f"DELETE FROM tenancy.migrations WHERE {of_version(schema, migration.version)} "
        f"AND checksum OPERATOR(pg_catalog.=) {literal(migration.checksum)} RETURNING 1"
    )


def note(schema: SchemaRef, migration: Migration, run_id: UUID | None) -> str:
    """Return the SQL that notes that *migration* was taken back."""
    name, version, checksum = map(literal, (schema.name, migration.version, migration.checksum))
    return (
        "INSERT INTO tenancy.reversals (schema_oid, schema_name, version, checksum, run_id) "
        f"VALUES ({schema.oid:d}, {name}, {version}, {checksum}, {run(run_id)}) RETURNING 1"
    )


def forget(schema: SchemaRef, migration: Migration) -> list[str]:
    """Return the SQL that forgets how *migration* was applied: the next time begins anew."""
    of = of_version(schema, migration.version)
    return [f"DELETE FROM tenancy.{table} WHERE {of}" for table in ("steps", "backfills")]
