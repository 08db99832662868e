"""The tenants of a fleet, and where the ledger says that each of them stands."""

from typing import NamedTuple

import asyncpg

from tenancy.errors import MigrationRefusedError, UnknownTenantError
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.ledger.selection import Selection

_FLEET = """
    SELECT w.slug, w.schema_name, n.oid AS schema_oid, c.version, coalesce(c.digest, '') AS digest,
           pg_catalog.obj_description(n.oid, 'pg_namespace') AS comment
    FROM tenancy.tenants AS w
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name::name
    LEFT JOIN tenancy.checkpoints AS c ON c.schema_oid = n.oid AND c.schema_name = n.nspname
    WHERE {selected} ORDER BY w.slug
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


async def members_of(conn: asyncpg.Connection, selection: Selection) -> list[Member]:
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


async def schema_of(conn: asyncpg.Connection, slug: str) -> SchemaRef:
    """Return the schema of the tenant called *slug*.

    Raises:
        UnknownTenantError: there is no such tenant, or it has none.
        MigrationRefusedError: nothing was applied yet to this database.
    """
    if not await checkpoints.exists(conn):
        raise MigrationRefusedError("there is no ledger yet: run `python -m tenancy.migrate`")
    row = await conn.fetchrow(
        "SELECT n.oid, t.schema_name FROM tenancy.tenants AS t "
        "JOIN pg_catalog.pg_namespace AS n ON n.nspname = t.schema_name WHERE t.slug = $1",
        slug,
    )
    if row is None:
        raise UnknownTenantError(f"no tenant has the slug {slug}, or its schema is gone")
    return SchemaRef(row["oid"], row["schema_name"])


async def schema_names(conn: asyncpg.Connection) -> frozenset[str]:
    """Return the schemas of all tenants."""
    rows = await conn.fetch("SELECT schema_name FROM tenancy.tenants")
    return frozenset(row["schema_name"] for row in rows)


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
