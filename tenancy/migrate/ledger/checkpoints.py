"""Which files a schema has: the rows and the checkpoint that a file's own transaction writes.

Every name is qualified: these run under an empty path, and under a schema's.
"""

from uuid import UUID

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.records import Baseline, History, SchemaRef


class AlreadyAppliedError(MigrationError):
    """The ledger has this file for this schema already: somebody else was faster."""

    code = "migration_already_applied"


async def exists(conn: asyncpg.Connection) -> bool:
    """Whether the catalog has been made in this database."""
    return bool(
        await conn.fetchval("SELECT pg_catalog.to_regclass('tenancy.checkpoints') IS NOT NULL")
    )


async def record(
    conn: asyncpg.Connection, schema: SchemaRef, migration: Migration, run_id: UUID | None
) -> str:
    """Claim *migration* for *schema* in the transaction that applies it; return the role that does.

    A second transaction that claims it waits here for the first one's end.

    Raises:
        AlreadyAppliedError: it was claimed, and committed.
    """
    try:
        role: str = await conn.fetchval(
            "INSERT INTO tenancy.migrations "
            "(schema_oid, version, schema_name, stage, name, checksum, run_id) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING current_user::text",
            schema.oid,
            migration.version,
            schema.name,
            migration.stage,
            migration.name,
            migration.checksum,
            run_id,
        )
    except asyncpg.UniqueViolationError as error:
        raise AlreadyAppliedError(
            f"the ledger has {migration.source.label} for {schema.name} already"
        ) from error
    return role


async def advance(conn: asyncpg.Connection, schema: SchemaRef, migration: Migration) -> None:
    """Move the checkpoint of *schema* to *migration*, from the file before it and nowhere else.

    Raises:
        AlreadyAppliedError: the checkpoint does not stand there.
    """
    statement = (
        "UPDATE tenancy.checkpoints SET schema_name = $2, stage = $3, version = $4, digest = $5, "
        "updated_at = clock_timestamp() WHERE schema_oid = $1 AND digest = $6"
        if migration.previous
        else "INSERT INTO tenancy.checkpoints (schema_oid, schema_name, stage, version, digest) "
        "SELECT $1, $2, $3, $4, $5 WHERE $6 = '' ON CONFLICT DO NOTHING"
    )
    status: str = await conn.execute(
        statement,
        schema.oid,
        schema.name,
        migration.stage,
        migration.version,
        migration.digest,
        migration.previous,
    )
    if not status.endswith(" 1"):
        raise AlreadyAppliedError(f"{schema.name} does not stand before {migration.source.label}")


async def digest(conn: asyncpg.Connection, schema: SchemaRef) -> str:
    """Return the digest of all that was applied to *schema*; empty: nothing was."""
    found: str | None = await conn.fetchval(
        "SELECT digest FROM tenancy.checkpoints WHERE schema_oid = $1", schema.oid
    )
    return found or ""


async def history(conn: asyncpg.Connection, oid: int) -> History:
    """Return what the ledger has of the schema with this *oid*."""
    rows = await conn.fetch(
        # A catalog that is itself behind may not have the column yet.
        "SELECT version, checksum, coalesce(to_jsonb(m) ->> 'kind', 'file') AS kind "
        "FROM tenancy.migrations AS m WHERE schema_oid = $1",
        oid,
    )
    bases = [Baseline(r["version"], r["checksum"]) for r in rows if r["kind"] == "baseline"]
    applied = {row["version"]: row["checksum"] for row in rows if row["kind"] == "file"}
    return History(applied, *bases)


async def schema(conn: asyncpg.Connection, name: str) -> SchemaRef | None:
    """Return the schema called *name*, if there is one."""
    oid = await conn.fetchval("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1", name)
    return None if oid is None else SchemaRef(oid, name)
