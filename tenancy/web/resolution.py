"""From a request to its tenant: what the resolvers say, and what the registry knows."""

import asyncio
from collections.abc import Callable
from typing import Any

from tenancy import resolvers
from tenancy.errors import (
    ConflictingTenantsError,
    MisdirectedHostError,
    MovedToPrimaryDomainError,
    RenamedTenantError,
    TenancyError,
    UnknownTenantError,
)
from tenancy.registry.registry import Registry
from tenancy.resolvers import Found, KeyKind, Resolver, TenantKey
from tenancy.resolvers.keys import found
from tenancy.settings import Settings
from tenancy.tenant import Tenant
from tenancy.web import elsewhere
from tenancy.web.asgi import Resolved
from tenancy.web.asgi import Scope as MutableScope

_NOWHERE = (UnknownTenantError, MisdirectedHostError)


class Resolution:
    """How this process finds the tenant of a request.

    Args:
        resolver: what a request says.
        settings: the operator's hosts, and whether requests are redirected: to a tenant's own
            domain, and from slugs that it had.
        registry: of the process, once it has started; raises `NotStartedError` before.
    """

    def __init__(
        self, resolver: Resolver, settings: Settings, registry: Callable[[], Registry]
    ) -> None:
        self._resolver = resolver
        self._operator_hosts = frozenset(settings.operator_hosts)
        self._redirects = settings.redirect_to_primary
        self._follows = settings.redirect_former_slugs
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
        ends = await self._ends(said.keys)
        if self._follows and any(isinstance(end, UnknownTenantError) for end in ends):
            await self._follow(scope, said, ends, host)
        tenant = self._registry().servable(_agreed(ends))
        moved = self._moved(scope, said.keys, tenant, host)
        return Resolved(tenant, moved, principal=said.principal, prefix=said.prefix)

    async def _ends(self, keys: tuple[TenantKey, ...]) -> list[Tenant | TenancyError]:
        """Return where each of *keys* leads: to a tenant, or nowhere.

        Raises:
            TenancyError: nobody could be asked.
        """
        registry = self._registry()
        ends: list[Any]
        if len(keys) == 1:
            try:
                ends = [await registry.find(keys[0])]
            except _NOWHERE as error:
                ends = [error]
            return ends
        ends = await asyncio.gather(*(registry.find(key) for key in keys), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, _NOWHERE):
                raise end
        return ends

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
        moved = MovedToPrimaryDomainError("the tenant is served at its primary domain")
        return elsewhere.at_host(moved, scope, primary)

    async def _follow(
        self, scope: MutableScope, said: Found, ends: list[Tenant | TenancyError], host: str
    ) -> None:
        """Redirect a request by a slug that its tenant had once, where host or path has said it.

        Whatever else the request says must lead to that same tenant. A header or a token is no
        address, so that there is nothing to lead to; a websocket follows no redirect.

        Raises:
            RenamedTenantError: it is redirected.
        """
        if scope["type"] != "http":
            return
        named: list[Tenant | None] = []
        former: list[TenantKey] = []
        for key, end in zip(said.keys, ends, strict=True):
            if isinstance(end, Tenant):
                named.append(end)
                continue
            is_address = key.of_host or said.prefix.endswith(f"/{key.name}")
            if key.kind is not KeyKind.SLUG or not is_address:
                return
            former.append(key)
            named.append(await self._registry().successor(key.name))
        tenant = named[0]
        if tenant is None or any(other is None or other.id != tenant.id for other in named):
            return
        raise self._renamed(scope, former, said.prefix, tenant, host)

    def _renamed(
        self,
        scope: MutableScope,
        former: list[TenantKey],
        prefix: str,
        tenant: Tenant,
        host: str,
    ) -> RenamedTenantError:
        """Return the redirect from *former* slugs to where *tenant* is."""
        renamed = RenamedTenantError("the tenant has another slug now")
        for key in former:
            if not key.of_host:
                new = prefix.removesuffix(key.name) + tenant.slug
                return elsewhere.at_prefix(renamed, scope, prefix, new)
        if self._redirects and tenant.primary_domain is not None:
            return elsewhere.at_host(renamed, scope, tenant.primary_domain)
        below = host.removeprefix(former[0].name)
        return elsewhere.at_host(renamed, scope, f"{tenant.slug}{below}")


def _agreed(ends: list[Tenant | TenancyError]) -> Tenant:
    """Return the one tenant that all *ends* are.

    Raises:
        ConflictingTenantsError: they are two, or one of them is nowhere.
        UnknownTenantError, MisdirectedHostError: all are.
    """
    tenants = [end for end in ends if isinstance(end, Tenant)]
    lost = [end for end in ends if not isinstance(end, Tenant)]
    if not tenants:
        raise lost[0]
    if lost or len({tenant.id for tenant in tenants}) > 1:
        raise ConflictingTenantsError("the sources of this request do not name one tenant")
    return tenants[0]
