"""Schema-per-tenant PostgreSQL for async Python.

A request takes a connection from an asyncpg pool inside one transaction scoped to its tenant's
schema, and to its tenant's role, by the server itself.
"""

from tenancy.errors import TenancyError
from tenancy.extension import Tenancy
from tenancy.resolvers import by_domain, by_host, by_subdomain
from tenancy.settings import Isolation, Settings
from tenancy.tenant import State, Tenant

__all__ = [
    "Isolation",
    "Settings",
    "State",
    "Tenancy",
    "TenancyError",
    "Tenant",
    "by_domain",
    "by_host",
    "by_subdomain",
]
