"""From a request to its tenant: what the resolvers say, and what the registry knows."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tenancy import resolvers
from tenancy.errors import (
    ConflictingTenantsError,
    MisdirectedHostError,
    MovedToPrimaryDomainError,
    TenancyError,
    UnknownTenantError,
)
from tenancy.registry.registry import Registry
from tenancy.resolvers import Resolver, TenantKey
from tenancy.resolvers.keys import found
from tenancy.settings import Settings
from tenancy.tenant import Tenant
from tenancy.web.asgi import Resolved
from tenancy.web.asgi import Scope as MutableScope

# RFC 3986, section 3.3 and 3.4; the percent sign is of what is encoded already.
_PATH = "/%:@!$&'()*+,;=-._~"
_QUERY = f"{_PATH}?"


class Resolution:
    """How this process finds the tenant of a request.

    Args:
        resolver: what a request says.
        settings: the operator's hosts, and whether tenants are redirected to their own domain.
        registry: of the process, once it has started; raises `NotStartedError` before.
    """

    def __init__(
        self, resolver: Resolver, settings: Settings, registry: Callable[[], Registry]
    ) -> None:
        self._resolver = resolver
        self._operator_hosts = frozenset(settings.operator_hosts)
        self._redirects = settings.redirect_to_primary
        self._registry = registry

    async def __call__(self, scope: MutableScope) -> Resolved:
        """Return whom the request of *scope* is for.

        Raises:
            TenancyError: nobody; each kind has one answer over HTTP.
        """
        # First, and for every resolver: RFC 9112, section 3.2 has a malformed host refused.
        host = resolvers.host(scope)
        if host in self._operator_hosts:
            return Resolved(operator=True)
        said = found(self._resolver(scope))
        if not said.keys:
            raise UnknownTenantError("the request names no tenant")
        tenant = self._registry().servable(await self._agreed(said.keys))
        moved = self._moved(scope, said.keys, tenant, host)
        return Resolved(tenant, moved, principal=said.principal, prefix=said.prefix)

    async def _agreed(self, keys: tuple[TenantKey, ...]) -> Tenant:
        """Return the one tenant that all *keys* lead to.

        Raises:
            ConflictingTenantsError: they lead to two, or one of them leads nowhere.
            UnknownTenantError, MisdirectedHostError: none leads anywhere.
        """
        registry = self._registry()
        if len(keys) == 1:
            return await registry.find(keys[0])
        ends: list[Any] = await asyncio.gather(
            *(registry.find(key) for key in keys), return_exceptions=True
        )
        unknown = [
            end for end in ends if isinstance(end, UnknownTenantError | MisdirectedHostError)
        ]
        for end in ends:
            if isinstance(end, BaseException) and end not in unknown:
                raise end  # nobody could be asked
        if len(unknown) == len(ends):
            raise unknown[0]
        if unknown or len({end.id for end in ends}) > 1:
            raise ConflictingTenantsError("the sources of this request do not name one tenant")
        first: Tenant = ends[0]
        return first

    def _moved(
        self, scope: MutableScope, keys: tuple[TenantKey, ...], tenant: Tenant, host: str
    ) -> TenancyError | None:
        """Return the answer to a request that came by another host than the tenant's primary.

        A websocket is served where it is: browsers follow no redirect of one.
        """
        primary = tenant.primary_domain
        if not self._redirects or primary is None or primary == host or scope["type"] != "http":
            return None
        if not any(key.of_host for key in keys):
            return None
        return _redirect(scope, primary)


def _redirect(scope: MutableScope, domain: str) -> MovedToPrimaryDomainError:
    """Return the redirect to *domain*, which the registry knows, with the same path and query.

    Without a scheme (RFC 3986, section 4.2): the client keeps its own, which behind a proxy that
    ends TLS is not the one we see.
    """
    port = resolvers.port(scope)
    # Absolute targets and "*" begin with no slash, and have no path of ours.
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    path = path.partition(b"?")[0] if path.startswith(b"/") else b"/"
    query = scope.get("query_string", b"")
    where = f"//{domain}{f':{port}' if port else ''}{quote(path, safe=_PATH)}"
    moved = MovedToPrimaryDomainError("the tenant is served at its primary domain")
    moved.headers = (("location", where + (f"?{quote(query, safe=_QUERY)}" if query else "")),)
    return moved
