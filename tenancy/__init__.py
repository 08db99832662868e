"""Schema-per-tenant PostgreSQL for async Python.

A request takes a connection from an asyncpg pool inside one transaction scoped to its tenant's
schema, and to its tenant's role, by the server itself.
"""

from typing import TYPE_CHECKING

from tenancy.envelope import Envelope
from tenancy.errors import TenancyError
from tenancy.resolvers import (
    KeyKind,
    Resolver,
    TenantKey,
    by_domain,
    by_header,
    by_host,
    by_path,
    by_subdomain,
    by_token,
    chain,
    signed,
)
from tenancy.settings import Isolation, Pooler, Settings, StatementCache
from tenancy.tenant import State, Tenant

if TYPE_CHECKING:
    from tenancy.extension import Tenancy

__all__ = [
    "Envelope",
    "Isolation",
    "KeyKind",
    "Pooler",
    "Resolver",
    "Settings",
    "State",
    "StatementCache",
    "Tenancy",
    "TenancyError",
    "Tenant",
    "TenantKey",
    "by_domain",
    "by_header",
    "by_host",
    "by_path",
    "by_subdomain",
    "by_token",
    "chain",
    "signed",
]


def __getattr__(name: str) -> object:
    # Tenancy brings Quart along, which takes half of the time in which the migrator, with nothing
    # pending, has started, looked and ended.
    if name == "Tenancy":
        from tenancy.extension import Tenancy  # noqa: PLC0415

        return Tenancy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
