"""The shapes that schemas were left in: a fingerprint beside each checkpoint."""

from collections.abc import Mapping, Sequence

import asyncpg

from tenancy.migrate.ledger.checkpoints import TELLS_LATER
from tenancy.migrate.ledger.records import OddShape, SchemaRef


async def keep(
    conn: asyncpg.Connection, schema: SchemaRef, version: str, fingerprint: str
) -> str | None:
    """Note the *fingerprint* of *schema* while it stands at *version*; return its digest of files.

    None: it does not stand there any more, and nothing was noted.
    """
    digest: str | None = await conn.fetchval(
        # Nobody who serves requests has to know: the trigger is told so (sql/catalog/0004).
        "UPDATE tenancy.checkpoints SET fingerprint = $3 "
        "FROM (SELECT pg_catalog.set_config('tenancy.tells', 'later', true)) AS quiet "
        "WHERE schema_oid = $1 AND version = $2 RETURNING digest",
        schema.oid,
        version,
        fingerprint,
    )
    return digest


async def usual(conn: asyncpg.Connection, schema: SchemaRef, digest: str) -> tuple[str, int] | None:
    """Return the fingerprint that most others with *digest* have, and how many; None: none has."""
    row = await conn.fetchrow(
        "SELECT c.fingerprint, count(*) AS schemas FROM tenancy.checkpoints AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.schema_oid "
        "WHERE c.stage = 'tenant' AND c.digest = $2 AND c.schema_oid <> $1 "
        "AND c.fingerprint IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1",
        schema.oid,
        digest,
    )
    return None if row is None else (row["fingerprint"], row["schemas"])


async def odd(conn: asyncpg.Connection) -> list[OddShape]:
    """Return the tenants whose shape is not that of most others with the same digest of files."""
    rows = await conn.fetch(
        "WITH shapes AS (SELECT digest, fingerprint, count(*) AS schemas "
        "FROM tenancy.checkpoints AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.schema_oid "
        "WHERE stage = 'tenant' AND fingerprint IS NOT NULL GROUP BY 1, 2), "
        "usual AS (SELECT DISTINCT ON (digest) * FROM shapes ORDER BY digest, schemas DESC, 2) "
        "SELECT t.slug, t.schema_name, u.schemas FROM usual AS u "
        "JOIN tenancy.checkpoints AS c ON c.digest = u.digest AND c.fingerprint <> u.fingerprint "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.schema_oid "
        "JOIN tenancy.tenants AS t ON t.schema_name = n.nspname ORDER BY t.slug"
    )
    return [OddShape(*row.values()) for row in rows]


async def taken(conn: asyncpg.Connection, oids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return digest and fingerprint of each schema as they are now; without those that are gone."""
    rows = await conn.fetch(
        "SELECT o.oid, coalesce(c.digest, '') AS digest, tenancy.fingerprint(o.oid) AS shape "
        "FROM unnest($1::oid[]) AS o (oid) "
        "LEFT JOIN tenancy.checkpoints AS c ON c.schema_oid = o.oid",
        list(oids),
    )
    return {row["oid"]: (row["digest"], row["shape"]) for row in rows if row["shape"]}


async def store(conn: asyncpg.Connection, found: Mapping[int, tuple[str, str]]) -> None:
    """Note the fingerprints of schemas that still stand at the digest they were taken at."""
    async with conn.transaction():
        # Nobody who serves requests has to know.
        await conn.execute(TELLS_LATER)
        await conn.execute(
            "UPDATE tenancy.checkpoints AS c SET fingerprint = f.shape "
            "FROM unnest($1::oid[], $2::text[], $3::text[]) AS f (oid, digest, shape) "
            "WHERE c.schema_oid = f.oid AND c.digest = f.digest "
            "AND c.fingerprint IS DISTINCT FROM f.shape",
            list(found),
            [digest for digest, _ in found.values()],
            [shape for _, shape in found.values()],
        )
