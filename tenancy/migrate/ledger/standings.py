"""Who is behind, since when and why: one query for the whole fleet."""

from collections.abc import Sequence

import asyncpg

from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.records import Failure, Standing

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
