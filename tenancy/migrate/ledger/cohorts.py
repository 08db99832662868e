"""Schemas with the same history: a fleet of thousands has a handful of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.records import SchemaRef

# Equal rows have an equal sum; the checkpoint beside it, for one that was edited.
_COHORTS = """
    WITH rows AS (
        SELECT schema_oid, min(stage) AS stage, sum(hashtextextended(
                   version || ' ' || checksum || ' ' || kind, 0)) AS sum
        FROM tenancy.migrations GROUP BY schema_oid
    )
    SELECT coalesce(c.stage, r.stage) AS stage, coalesce(c.digest, '') AS digest,
           coalesce(c.version, '') AS version,
           array_agg(n.oid ORDER BY n.nspname) AS oids,
           array_agg(n.nspname::text ORDER BY n.nspname) AS names
    FROM tenancy.checkpoints AS c FULL JOIN rows AS r USING (schema_oid)
    JOIN pg_catalog.pg_namespace AS n ON n.oid = schema_oid
    WHERE $1::text[] IS NULL OR n.nspname = ANY ($1)
    GROUP BY 1, 2, 3, r.sum ORDER BY 1, 3
"""


@dataclass(frozen=True, slots=True)
class Cohort:
    """Existing schemas of one stage whose rows and whose checkpoints are the same.

    Attributes:
        digest, version: of their checkpoints; empty: they have none.
    """

    stage: Stage
    digest: str
    version: str
    schemas: tuple[SchemaRef, ...]


async def cohorts(conn: asyncpg.Connection, names: Sequence[str] | None = None) -> list[Cohort]:
    """Return all schemas that the ledger knows and that exist, or those called *names*."""
    rows = await conn.fetch(_COHORTS, None if names is None else list(names))
    return [
        Cohort(
            Stage(row["stage"]),
            row["digest"],
            row["version"],
            tuple(map(SchemaRef, row["oids"], row["names"])),
        )
        for row in rows
    ]
