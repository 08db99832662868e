"""What an operator sees of tenants."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from tenancy.errors import DatabaseSetupError, UnknownTenantError
from tenancy.fairness import limits
from tenancy.tenant import State, Tenant

_PROFILE = """
    SELECT t.id, t.slug, t.schema_name, t.state, t.created_at, t.updated_at, t.purge_at, c.version,
           t.settings::text AS settings, t.former_slugs,
           coalesce(array_agg(d.name ORDER BY d.is_primary DESC, d.name)
                    FILTER (WHERE d.verified_at IS NOT NULL), '{}') AS domains
    FROM tenancy.tenants t
    LEFT JOIN tenancy.domains d ON d.tenant_id = t.id
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema_name
    LEFT JOIN tenancy.checkpoints c ON c.schema_oid = n.oid AND c.schema_name = n.nspname
"""

# The tenants of the page first: what is joined to them need not be joined to all.
_PAGE = """
    WHERE t.id IN (
        SELECT p.id FROM tenancy.tenants p
        WHERE ($1::text[] IS NULL OR p.state = ANY($1))
          AND ($2::text IS NULL OR strpos(p.slug, $2) > 0 OR p.id::text = $2
               OR EXISTS (SELECT FROM unnest(p.former_slugs) f WHERE strpos(f, $2) > 0)
               OR EXISTS (SELECT FROM tenancy.domains s
                          WHERE s.tenant_id = p.id AND strpos(s.name, $2) > 0))
          AND ($3::text IS NULL OR p.slug > $3)
        ORDER BY p.slug LIMIT $4)
    GROUP BY t.id, c.version ORDER BY t.slug
"""
PAGE = 50


@dataclass(frozen=True, slots=True)
class Profile:
    """What an operator sees of a tenant.

    Attributes:
        tenant: as requests see it.
        domains: verified custom domains, the primary one first.
        created_at, updated_at: with a time zone.
        purge_at: of one that is being deleted, from when on it may be purged.
        former_slugs: those that redirect to the one it has, the oldest first.
    """

    tenant: Tenant
    domains: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    purge_at: datetime | None = None
    former_slugs: tuple[str, ...] = ()

    @property
    def etag(self) -> str:
        """A word that changes with anything that an operator sees of the tenant."""
        members = json.dumps(self.as_json(), sort_keys=True)
        return hashlib.sha256(members.encode()).hexdigest()[:32]

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return {
            "id": str(self.tenant.id),
            "slug": self.tenant.slug,
            "schema": self.tenant.schema,
            "state": str(self.tenant.state),
            "version": self.tenant.version,
            "domains": list(self.domains),
            "former_slugs": list(self.former_slugs),
            limits.STATEMENT_TIMEOUT: self.tenant.limits.statement_timeout_seconds,
            limits.MAX_CONNECTIONS: self.tenant.limits.max_connections,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "purge_at": self.purge_at and self.purge_at.isoformat(),
        }


async def find(conn: asyncpg.Connection, slug: str) -> Profile:
    """Return the tenant called *slug*.

    Raises:
        UnknownTenantError: there is none.
        DatabaseSetupError: there is no registry.
    """
    rows = await _read(conn, "WHERE t.slug = $1 GROUP BY t.id, c.version", slug)
    if not rows:
        raise await unknown(conn, slug)
    return rows[0]


async def unknown(conn: asyncpg.Connection, slug: str) -> UnknownTenantError:
    """Return the error of a *slug* that no tenant has, with the one that had it, if one did."""
    now = await conn.fetchval(
        "SELECT slug FROM tenancy.tenants WHERE former_slugs @> ARRAY[$1::text]", slug
    )
    called = f": the tenant that had it is called {now!r} now" if now else ""
    return UnknownTenantError(f"no tenant has the slug {slug!r}{called}")


async def every(conn: asyncpg.Connection) -> tuple[Profile, ...]:
    """Return all tenants, by slug.

    Raises:
        DatabaseSetupError: there is no registry.
    """
    return await _read(conn, "GROUP BY t.id, c.version ORDER BY t.slug")


async def page(
    conn: asyncpg.Connection,
    *,
    states: Collection[State] = (),
    search: str | None = None,
    after: str | None = None,
    limit: int = PAGE,
) -> tuple[Profile, ...]:
    """Return some tenants, by slug.

    Args:
        conn: of the owner of schemas.
        states: in one of these; empty: in any.
        search: part of the slug, of a former one or of a domain, or the id.
        after: the last slug of the page before this one.
        limit: tenants at most.

    Raises:
        DatabaseSetupError: there is no registry.
    """
    return await _read(
        conn,
        _PAGE,
        [str(state) for state in states] or None,
        search and search.strip().lower(),
        after,
        limit,
    )


async def _read(conn: asyncpg.Connection, rest: str, *args: object) -> tuple[Profile, ...]:
    try:
        rows = await conn.fetch(_PROFILE + rest, *args)
    except asyncpg.UndefinedTableError as error:
        raise DatabaseSetupError(
            "there is no registry yet: run `python -m tenancy.migrate`"
        ) from error
    return tuple(map(_profile, rows))


def _profile(row: asyncpg.Record) -> Profile:
    tenant = Tenant(
        row["id"],
        row["slug"],
        row["schema_name"],
        State(row["state"]),
        row["version"],
        limits=limits.read(row["settings"], row["slug"]),
    )
    return Profile(
        tenant,
        tuple(row["domains"]),
        row["created_at"],
        row["updated_at"],
        row["purge_at"],
        tuple(row["former_slugs"]),
    )
