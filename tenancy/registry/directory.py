"""Tenants in memory, by id, slug, domain and former slug. Pure: no clock, no database.

A tenant takes about half a kilobyte, measured with 100,000.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from tenancy.resolvers import KeyKind, TenantKey
from tenancy.tenant import Tenant


@dataclass(slots=True)
class Known:
    """What is remembered of one tenant.

    Attributes:
        domains: verified ones.
        former_slugs: those it had, and nobody has now.
        read_at: when the database was asked, in loop time.
        stale: it was changed since: the name is known, and nothing else.
    """

    tenant: Tenant
    domains: tuple[str, ...]
    former_slugs: tuple[str, ...]
    read_at: float
    stale: bool = False


class Directory:
    """At most *limit* tenants; the one used longest ago makes room."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, Known] = OrderedDict()
        self._slugs: dict[str, Known] = {}
        self._domains: dict[str, Known] = {}
        self._former_slugs: dict[str, Known] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, key: TenantKey) -> Known | None:
        """Return the entry that *key* leads to, a stale one too."""
        return self._names(key.kind).get(key.name)

    def put(
        self,
        tenant: Tenant,
        domains: Iterable[str],
        former_slugs: Iterable[str],
        read_at: float,
    ) -> bool:
        """Remember *tenant*, under these names and no others; return whether there was room."""
        entry = Known(tenant, tuple(domains), tuple(former_slugs), read_at)
        tenant_id = str(tenant.id)
        self.remove(tenant_id)
        self._ids[tenant_id] = entry
        self._slugs[tenant.slug] = entry
        for name in entry.domains:
            self._domains[name] = entry
        for name in entry.former_slugs:
            self._former_slugs[name] = entry
        if len(self._ids) <= self._limit:
            return True
        self.remove(next(iter(self._ids)))
        return False

    def used(self, entry: Known) -> None:
        """Keep *entry* longer than those used before it."""
        self._ids.move_to_end(str(entry.tenant.id))

    def remove(self, tenant_id: str) -> None:
        """Forget a tenant and every name that still leads to it."""
        entry = self._ids.pop(tenant_id, None)
        if entry is None:
            return
        for names, own in (
            (self._slugs, (entry.tenant.slug,)),
            (self._domains, entry.domains),
            (self._former_slugs, entry.former_slugs),
        ):
            for name in own:
                if names.get(name) is entry:
                    del names[name]

    def remove_name(self, key: TenantKey) -> None:
        """Forget that *key* leads to anybody."""
        if key.kind is KeyKind.ID:
            self.remove(key.name)
        else:
            self._names(key.kind).pop(key.name, None)

    def doubt(self, tenant_id: str) -> None:
        """Do not serve a tenant until it has been read again; its names stay known."""
        entry = self._ids.get(tenant_id)
        if entry is not None:
            entry.stale = True

    def doubt_all(self) -> None:
        """As `doubt`, of every tenant."""
        for entry in self._ids.values():
            entry.stale = True

    def _names(self, kind: KeyKind) -> dict[str, Known]:
        match kind:
            case KeyKind.SLUG:
                return self._slugs
            case KeyKind.DOMAIN:
                return self._domains
            case KeyKind.FORMER_SLUG:
                return self._former_slugs
            case KeyKind.ID:
                return self._ids
