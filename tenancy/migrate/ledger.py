"""What was applied where: all SQL on the ledger's tables (sql/catalog/0002_ledger.sql)."""

import os
import socket
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.files import Migration, Stage
from tenancy.migrate.records import Failure, SchemaRef, Standing

# Every name is qualified: these run under an empty path, and under a tenant's.
_BEHIND = """
    SELECT w.slug, w.schema_name, n.oid AS schema_oid, c.version, coalesce(c.digest, '') AS digest,
           coalesce(c.updated_at, w.created_at) AS since,
           f.version AS failed_version, f.sqlstate, f.place, f.message, f.failed_at
    FROM ({wanted}) AS w (slug, schema_name, state, created_at)
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name::name
    LEFT JOIN tenancy.checkpoints AS c ON c.schema_oid = n.oid
    LEFT JOIN LATERAL (
        SELECT * FROM tenancy.failures AS x
        WHERE x.schema_oid = n.oid AND (c.updated_at IS NULL OR x.failed_at > c.updated_at)
        ORDER BY x.failed_at DESC LIMIT 1
    ) AS f ON true
    WHERE coalesce(c.digest, '') <> $1
      AND (n.oid IS NOT NULL OR coalesce(w.state, '') NOT IN ('provisioning', 'deleting'))
    ORDER BY f.failed_at NULLS FIRST, w.slug
"""
_TENANTS = """
    SELECT slug, schema_name, state, created_at FROM tenancy.tenants
    WHERE $2::text[] IS NULL OR slug = ANY ($2)
"""
_ONE_SCHEMA = "VALUES (NULL, $2::text, NULL, NULL::timestamptz)"


class AlreadyAppliedError(MigrationError):
    """The ledger has this file for this schema already: somebody else was faster."""

    code = "migration_already_applied"


async def exists(conn: asyncpg.Connection) -> bool:
    """Whether the catalog has been made in this database."""
    return bool(
        await conn.fetchval("SELECT pg_catalog.to_regclass('tenancy.checkpoints') IS NOT NULL")
    )


async def start_run(conn: asyncpg.Connection) -> UUID:
    """Note that this process begins to migrate; return the run's id."""
    run_id: UUID = await conn.fetchval(
        "INSERT INTO tenancy.runs (host, process_id) VALUES ($1, $2) RETURNING id",
        socket.gethostname(),
        os.getpid(),
    )
    return run_id


async def finish_run(conn: asyncpg.Connection, run_id: UUID, outcome: str) -> None:
    """Note how the run ended; one that stays without an outcome was killed."""
    await conn.execute(
        "UPDATE tenancy.runs SET finished_at = clock_timestamp(), outcome = $2 WHERE id = $1",
        run_id,
        outcome,
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


async def applied(conn: asyncpg.Connection, oid: int) -> dict[str, str]:
    """Return the checksum of each version in the ledger of the schema with this *oid*."""
    rows = await conn.fetch(
        "SELECT version, checksum FROM tenancy.migrations WHERE schema_oid = $1", oid
    )
    return {row["version"]: row["checksum"] for row in rows}


async def schema(conn: asyncpg.Connection, name: str) -> SchemaRef | None:
    """Return the schema called *name*, if there is one."""
    oid = await conn.fetchval("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1", name)
    return None if oid is None else SchemaRef(oid, name)


async def schema_behind(
    conn: asyncpg.Connection, stage: Stage, name: str, target: str
) -> list[Standing]:
    """Return the standing of the schema *name* if its digest is not *target*."""
    rows = await conn.fetch(_BEHIND.format(wanted=_ONE_SCHEMA), target, name)
    return [_standing(row, stage) for row in rows]


async def tenants_behind(
    conn: asyncpg.Connection, target: str, slugs: Sequence[str] = ()
) -> list[Standing]:
    """Return the tenants whose digest is not *target*, those whose last attempt failed last.

    A tenant that is being made or deleted and has no schema is passed over; so are those not among
    *slugs*, where any are given.
    """
    rows = await conn.fetch(_BEHIND.format(wanted=_TENANTS), target, list(slugs) or None)
    return [_standing(row, Stage.TENANT) for row in rows]


async def unknown_slugs(conn: asyncpg.Connection, slugs: Sequence[str]) -> list[str]:
    """Return those of *slugs* that no tenant has."""
    rows = await conn.fetch("SELECT slug FROM tenancy.tenants WHERE slug = ANY ($1)", list(slugs))
    return sorted(set(slugs) - {row["slug"] for row in rows})


async def versions(conn: asyncpg.Connection) -> list[tuple[Stage, str, int]]:
    """Return how many existing schemas of each stage stand at each version."""
    rows = await conn.fetch(
        "SELECT c.stage, c.version, count(*) AS schemas FROM tenancy.checkpoints AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.schema_oid "
        "GROUP BY c.stage, c.version ORDER BY c.stage, c.version"
    )
    return [(Stage(row["stage"]), row["version"], row["schemas"]) for row in rows]


async def fail(
    conn: asyncpg.Connection, schema: SchemaRef, failure: Failure, run_id: UUID | None
) -> None:
    """Note a failure, but no words that the file made up itself: there may be rows in them."""
    await conn.execute(
        "INSERT INTO tenancy.failures "
        "(run_id, schema_oid, schema_name, version, sqlstate, place, message) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        run_id,
        schema.oid,
        schema.name,
        failure.version,
        failure.sqlstate,
        failure.place,
        "the file raised an error; the run printed its words"
        if failure.raised
        else failure.message,
    )


def _standing(row: asyncpg.Record, stage: Stage) -> Standing:
    failure = None
    if row["failed_at"] is not None:
        failure = Failure(
            row["failed_version"], row["place"], row["message"], row["sqlstate"], row["failed_at"]
        )
    return Standing(
        stage,
        row["schema_name"],
        row["schema_oid"],
        row["slug"],
        row["version"],
        row["digest"],
        row["since"],
        failure,
    )
