"""Domains of tenants, as rows: who says that one is his, and who has shown it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from tenancy.errors import DomainTakenError, UnknownDomainError
from tenancy.provision import challenges


@dataclass(frozen=True, slots=True)
class Domain:
    """A custom domain of one tenant.

    Attributes:
        name: lower case, in punycode.
        is_primary: whether the tenant is best reached by it.
        verified_at: since when it is served; None: it is not.
        challenge: what the TXT record must hold for it to be verified; None: an operator has
            vouched for it.
        created_at: when it was added.
    """

    name: str
    is_primary: bool
    verified_at: datetime | None
    challenge: str | None
    created_at: datetime

    @property
    def record_name(self) -> str:
        """The name of the TXT record."""
        return challenges.record_name(self.name)

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return {
            "name": self.name,
            "is_primary": self.is_primary,
            "verified_at": self.verified_at and self.verified_at.isoformat(),
            "record_name": self.record_name,
            "challenge": self.challenge,
            "created_at": self.created_at.isoformat(),
        }


_DOMAINS = """
    SELECT d.name, d.is_primary, d.verified_at, d.challenge, d.created_at
    FROM tenancy.domains d JOIN tenancy.tenants t ON t.id = d.tenant_id
    WHERE t.slug = $1
"""
_ADD = """
    INSERT INTO tenancy.domains AS d (name, tenant_id, challenge) VALUES ($1, $2, $3)
    ON CONFLICT (name, tenant_id) DO UPDATE SET challenge = excluded.challenge
    WHERE d.verified_at IS NULL AND d.challenge IS NULL
    RETURNING true
"""
_TAKEN = """
    SELECT true FROM tenancy.domains
    WHERE name = $1 AND tenant_id <> $2 AND verified_at IS NOT NULL
"""
# The first one that is served is the primary one, as with `create`.
_VERIFY = """
    UPDATE tenancy.domains SET verified_at = now(), challenge = CASE WHEN NOT $3 THEN challenge END,
        is_primary = is_primary OR NOT EXISTS (
            SELECT FROM tenancy.domains WHERE tenant_id = $2 AND is_primary)
    WHERE name = $1 AND tenant_id = $2 AND verified_at IS NULL
    RETURNING true
"""
_MAKE_PRIMARY = """
    UPDATE tenancy.domains SET is_primary = $3
    WHERE tenant_id = $2 AND (name = $1) = $3 AND is_primary <> $3
"""


async def every(conn: asyncpg.Connection, slug: str) -> tuple[Domain, ...]:
    """Return all domains of the tenant called *slug*, the primary one first."""
    rows = await conn.fetch(f"{_DOMAINS} ORDER BY d.is_primary DESC, d.name", slug)
    return tuple(Domain(**row) for row in rows)


async def find(conn: asyncpg.Connection, slug: str, name: str) -> Domain:
    """Return one domain of the tenant called *slug*.

    Raises:
        UnknownDomainError: it has no such domain.
    """
    row = await conn.fetchrow(f"{_DOMAINS} AND d.name = $2", slug, name)
    if row is None:
        raise UnknownDomainError(f"tenant {slug!r} has no domain {name}")
    return Domain(**row)


async def add(conn: asyncpg.Connection, tenant: UUID, name: str) -> bool:
    """Enter that *tenant* says that *name* is its own, unless it has; return whether it had not.

    Raises:
        DomainTakenError: it is verified as another tenant's.
    """
    await refuse_taken(conn, tenant, name)
    return bool(await conn.fetchval(_ADD, name, tenant, challenges.new()))


async def verify(
    conn: asyncpg.Connection, tenant: UUID, name: str, *, vouched: bool = False
) -> bool:
    """Note that it is shown, or *vouched* for, that *name* is *tenant*'s; return whether it is new.

    Raises:
        DomainTakenError: it is verified as another tenant's.
    """
    try:
        return bool(await conn.fetchval(_VERIFY, name, tenant, vouched))
    except asyncpg.UniqueViolationError as error:
        raise _taken(name) from error


async def make_primary(conn: asyncpg.Connection, tenant: UUID, name: str) -> None:
    """Make *name* the primary one of the domains of *tenant*."""
    for is_primary in (False, True):  # never two at a time
        await conn.execute(_MAKE_PRIMARY, name, tenant, is_primary)


async def remove(conn: asyncpg.Connection, tenant: UUID, name: str) -> None:
    """Take *name* from *tenant*."""
    await conn.execute(
        "DELETE FROM tenancy.domains WHERE name = $1 AND tenant_id = $2", name, tenant
    )


async def refuse_taken(conn: asyncpg.Connection, tenant: UUID, name: str) -> None:
    """Raise unless *name* can be verified as *tenant*'s.

    Raises:
        DomainTakenError: it is verified as another tenant's.
    """
    if await conn.fetchval(_TAKEN, name, tenant):
        raise _taken(name)


def _taken(name: str) -> DomainTakenError:
    return DomainTakenError(f"another tenant has the domain {name}: choose another")
