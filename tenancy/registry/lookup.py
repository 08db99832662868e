"""The registry's queries: one name, a few tenants, all of them."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

import asyncpg

from tenancy.errors import DatabaseSetupError
from tenancy.fairness import limits
from tenancy.resolvers import KeyKind, TenantKey
from tenancy.tenant import State, Tenant

Fetch = Callable[..., Awaitable[Sequence[asyncpg.Record]]]

_UNFIT = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InsufficientPrivilegeError,
)

PAGE = 250  # rows; no request waits for longer than the few milliseconds these take in Python

# Every name is qualified: the path is empty, and no operator is chosen by it.
_SELECT = """
    SELECT t.id, t.slug, t.schema_name, t.state, c.version, t.settings::pg_catalog.text AS settings,
           t.former_slugs,
           ARRAY(SELECT d.name FROM tenancy.domains d
                 WHERE d.tenant_id OPERATOR(pg_catalog.=) t.id AND d.verified_at IS NOT NULL
           ) AS domains,
           (SELECT p.name FROM tenancy.domains p WHERE p.tenant_id OPERATOR(pg_catalog.=) t.id
                AND p.is_primary AND p.verified_at IS NOT NULL) AS primary_domain
    FROM tenancy.tenants t
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) t.schema_name
    LEFT JOIN tenancy.checkpoints c ON c.schema_oid OPERATOR(pg_catalog.=) n.oid
        AND c.schema_name OPERATOR(pg_catalog.=) t.schema_name
"""
_BY: dict[KeyKind, str] = {
    KeyKind.SLUG: f"{_SELECT} WHERE t.slug OPERATOR(pg_catalog.=) $1",
    KeyKind.DOMAIN: f"{_SELECT} WHERE t.id OPERATOR(pg_catalog.=) (SELECT d.tenant_id "
    "FROM tenancy.domains d WHERE d.name OPERATOR(pg_catalog.=) $1 AND d.verified_at IS NOT NULL)",
    KeyKind.ID: f"{_SELECT} WHERE t.id OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.uuid",
    KeyKind.FORMER_SLUG: f"{_SELECT} WHERE t.former_slugs OPERATOR(pg_catalog.<>) '{{}}' "
    "AND t.former_slugs OPERATOR(pg_catalog.@>) ARRAY[$1::pg_catalog.text]",
}
_BY_IDS = f"{_SELECT} WHERE t.id OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.uuid[])"
_PAGE = f"{_SELECT} ORDER BY t.id LIMIT $1"
_NEXT_PAGE = f"{_SELECT} WHERE t.id OPERATOR(pg_catalog.>) $2 ORDER BY t.id LIMIT $1"


class Registered(NamedTuple):
    """One tenant, its verified domains, and the slugs it had."""

    tenant: Tenant
    domains: Sequence[str]
    former_slugs: Sequence[str] = ()


async def one(fetch: Fetch, key: TenantKey) -> Registered | None:
    """Return whom *key* leads to; an id must have the form of one.

    Raises:
        DatabaseSetupError: the registry is missing or may not be read.
    """
    found = await _found(fetch, _BY[key.kind], key.name)
    return found[0] if found else None


async def some(fetch: Fetch, tenant_ids: Sequence[str]) -> list[Registered]:
    """Return those tenants that exist.

    Raises:
        DatabaseSetupError: as `one`.
    """
    return await _found(fetch, _BY_IDS, tenant_ids)


async def pages(fetch: Fetch, limit: int) -> AsyncIterator[list[Registered]]:
    """Yield all tenants, *limit* at most, some at a time: not as of one moment.

    Raises:
        DatabaseSetupError: as `one`.
    """
    page = await _found(fetch, _PAGE, min(PAGE, limit))
    while page:
        yield page
        limit -= len(page)
        page = await _found(fetch, _NEXT_PAGE, min(PAGE, limit), page[-1].tenant.id)


async def _found(fetch: Fetch, sql: str, *args: object) -> list[Registered]:
    try:
        rows = await fetch(sql, *args)
    except _UNFIT as error:
        raise DatabaseSetupError(
            "the registry is missing, of an older release or may not be read: run "
            "`python -m tenancy.migrate` and `python -m tenancy tenants grant`"
        ) from error
    return [Registered(_tenant(row), row["domains"], row["former_slugs"]) for row in rows]


def _tenant(row: asyncpg.Record) -> Tenant:
    version = row["version"]
    return Tenant(
        row["id"],
        row["slug"],
        row["schema_name"],
        State(row["state"]),
        version and sys.intern(version),  # a fleet has few, and a text for each tenant is 50 bytes
        primary_domain=row["primary_domain"],
        limits=limits.read(row["settings"], row["slug"]),
    )
