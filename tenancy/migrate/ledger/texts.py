"""Pieces of SQL on the ledger that go as text into a file's own transaction.

Every name and operator is qualified: they run under a schema's path.
"""

from uuid import UUID

from tenancy.identifiers import literal
from tenancy.migrate.ledger.records import SchemaRef


def of_schema(schema: SchemaRef) -> str:
    """Return the condition on rows of *schema*."""
    return f"schema_oid OPERATOR(pg_catalog.=) {schema.oid:d}"


def of_version(schema: SchemaRef, version: str) -> str:
    """Return the condition on rows of the file of *version* in *schema*."""
    return f"{of_schema(schema)} AND version OPERATOR(pg_catalog.=) {literal(version)}"


def run(run_id: UUID | None) -> str:
    """Return the value for the run of a row."""
    return f"{literal(str(run_id))}::pg_catalog.uuid" if run_id else "NULL"
