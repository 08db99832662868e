"""The shapes of tenants' schemas beside what the ledger says of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import asyncpg

from tenancy.migrate.ledger.selection import Selection

_FLEET = """
    SELECT w.slug, w.schema_name, n.oid AS schema_oid, c.version, coalesce(c.digest, '') AS digest,
           pg_catalog.obj_description(n.oid, 'pg_namespace') AS comment
    FROM tenancy.tenants AS w
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name::name
    LEFT JOIN tenancy.checkpoints AS c ON c.schema_oid = n.oid
    WHERE {selected} ORDER BY w.slug
"""
# Sets only: each reads a catalog once, however many tenants there are.
_FLAWS = """
    SELECT c.relnamespace AS schema_oid, x.relname::text AS name, 'index' AS kind,
           'is not valid: drop it and build it again' AS what
    FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid
    JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
    WHERE NOT i.indisvalid AND c.relkind IN ('r', 'm') AND c.relnamespace = ANY ($1::oid[])
    UNION ALL
    SELECT k.connamespace, r.relname || '.' || k.conname, 'constraint',
           'is not validated: ALTER TABLE ... VALIDATE CONSTRAINT'
    FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_class AS r ON r.oid = k.conrelid
    WHERE NOT k.convalidated AND k.connamespace = ANY ($1::oid[])
      AND coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true'
    UNION ALL
    SELECT c.relnamespace, c.relname::text, 'table',
           'is owned by another login than its schema: ALTER TABLE ... OWNER TO'
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relowner <> n.nspowner AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND c.relnamespace = ANY ($1::oid[])
    ORDER BY 1, 2
"""


class Member(NamedTuple):
    """A tenant of the fleet, and where the ledger says it stands.

    Attributes:
        oid: None: it has no schema.
        version: None: nothing was applied.
        comment: on its schema.
    """

    slug: str
    schema: str
    oid: int | None
    version: str | None
    digest: str
    comment: str


class Flaw(NamedTuple):
    """Something in a schema that is not as it should be, whatever the others have."""

    schema_oid: int
    name: str
    kind: str
    what: str


async def fleet(conn: asyncpg.Connection, selection: Selection) -> list[Member]:
    """Return the tenants that *selection* means, by slug."""
    arguments: list[object] = []
    rows = await conn.fetch(_FLEET.format(selected=selection.conditions(arguments)), *arguments)
    return [
        Member(
            *(row["slug"], row["schema_name"], row["schema_oid"], row["version"], row["digest"]),
            row["comment"] or "",
        )
        for row in rows
    ]


async def names(conn: asyncpg.Connection) -> frozenset[str]:
    """Return the schemas of all tenants."""
    rows = await conn.fetch("SELECT schema_name FROM tenancy.tenants")
    return frozenset(row["schema_name"] for row in rows)


async def flaws(conn: asyncpg.Connection, oids: Sequence[int]) -> list[Flaw]:
    """Return invalid indexes, constraints that are not validated, and what others own."""
    return [Flaw(*row.values()) for row in await conn.fetch(_FLAWS, list(oids))]


async def fingerprints(conn: asyncpg.Connection, oids: Sequence[int]) -> dict[int, tuple[str, str]]:
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
        await conn.execute("SET LOCAL tenancy.tells = 'later'")
        await conn.execute(
            "UPDATE tenancy.checkpoints AS c SET fingerprint = f.shape "
            "FROM unnest($1::oid[], $2::text[], $3::text[]) AS f (oid, digest, shape) "
            "WHERE c.schema_oid = f.oid AND c.digest = f.digest "
            "AND c.fingerprint IS DISTINCT FROM f.shape",
            list(found),
            [digest for digest, _ in found.values()],
            [shape for _, shape in found.values()],
        )


async def canary(conn: asyncpg.Connection) -> str | None:
    """Return the slug of the tenant that the last run which applied something began with."""
    slug: str | None = await conn.fetchval(
        "SELECT t.slug FROM tenancy.migrations AS m "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = m.schema_oid "
        "JOIN tenancy.tenants AS t ON t.schema_name = n.nspname "
        "WHERE m.run_id = (SELECT r.id FROM tenancy.runs AS r WHERE EXISTS ("
        "SELECT FROM tenancy.migrations AS x WHERE x.run_id = r.id AND x.stage = 'tenant') "
        "ORDER BY r.started_at DESC LIMIT 1) ORDER BY m.applied_at LIMIT 1"
    )
    return slug
