"""Tenants and their domains: looked up, and kept in memory for a while.

No request asks the database who its tenant is while the answer is fresh. Unknown names are kept
too, more briefly, and the number of entries is bounded, so that a flood of made-up hosts costs
neither memory nor connections.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

import asyncpg

from tenancy import limits
from tenancy.errors import (
    DatabaseSetupError,
    MisdirectedHostError,
    TenantNotReadyError,
    TenantSuspendedError,
    UnknownTenantError,
)
from tenancy.pool import Pool
from tenancy.resolvers import KeyKind, TenantKey
from tenancy.settings import Settings
from tenancy.tenant import State, Tenant

_SELECT = """
    SELECT t.id, t.slug, t.schema_name, t.state, c.version, t.settings::pg_catalog.text AS settings,
        (SELECT p.name FROM tenancy.domains p WHERE p.tenant_id OPERATOR(pg_catalog.=) t.id
            AND p.is_primary AND p.verified_at IS NOT NULL) AS primary_domain
    FROM tenancy.tenants t
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) t.schema_name
    LEFT JOIN tenancy.checkpoints c ON c.schema_oid OPERATOR(pg_catalog.=) n.oid
"""

_BY: dict[KeyKind, str] = {
    KeyKind.SLUG: f"{_SELECT} WHERE t.slug OPERATOR(pg_catalog.=) $1",
    KeyKind.DOMAIN: f"{_SELECT} JOIN tenancy.domains d ON d.tenant_id OPERATOR(pg_catalog.=) t.id "
    "WHERE d.name OPERATOR(pg_catalog.=) $1 AND d.verified_at IS NOT NULL",
    KeyKind.ID: f"{_SELECT} WHERE t.id OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.uuid",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    tenant: Tenant | None
    expires_at: float  # loop time


class Registry:
    """What one process knows of the tenants."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._ttl_seconds = settings.registry_ttl_seconds
        self._negative_ttl_seconds = settings.registry_negative_ttl_seconds
        self._max_entries = settings.registry_max_entries
        self._entries: OrderedDict[TenantKey, _Entry] = OrderedDict()
        self._generation = 0
        self._asking: dict[TenantKey, asyncio.Task[Tenant | None]] = {}

    async def find(self, key: TenantKey) -> Tenant:
        """Return the tenant of *key* in whatever state it is, at most a time to live old.

        Raises:
            UnknownTenantError: no tenant has this slug.
            MisdirectedHostError: no tenant has this domain, so we do not answer for it.
            PoolExhaustedError, DatabaseUnavailableError, DatabaseSetupError: nobody could be asked.
        """
        entry = self._entries.get(key)
        if entry is None or entry.expires_at <= asyncio.get_running_loop().time():
            tenant = await self._ask_once(key)
        else:
            tenant = entry.tenant
        if tenant is not None:
            return tenant
        if key.kind is KeyKind.DOMAIN:
            raise MisdirectedHostError(f"{key.name!r} is no tenant's domain")
        raise UnknownTenantError(f"no tenant has the slug {key.name!r}")

    def forget(self) -> None:
        """Ask the database again for every name."""
        self._generation += 1  # an answer on its way is of the past
        self._entries.clear()
        self._asking.clear()

    async def _ask_once(self, key: TenantKey) -> Tenant | None:
        """Ask the database; a hundred requests for one name ask once."""
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(key))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)  # one waiter's cancellation must not fail the others

    def _asked(self, key: TenantKey, done: "asyncio.Task[Tenant | None]") -> None:
        if self._asking.get(key) is done:
            del self._asking[key]

    async def _ask(self, key: TenantKey) -> Tenant | None:
        generation = self._generation
        try:
            rows = await self._pool.read(_BY[key.kind], key.name)
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError) as error:
            raise DatabaseSetupError(
                "the registry is missing or may not be read: run `python -m tenancy.migrate` "
                "and `python -m tenancy tenants grant`"
            ) from error
        tenant = _tenant(rows[0]) if rows else None
        if generation == self._generation:
            self._remember(key, tenant)
        return tenant

    def _remember(self, key: TenantKey, tenant: Tenant | None) -> None:
        ttl = self._negative_ttl_seconds if tenant is None else self._ttl_seconds
        entry = _Entry(tenant, asyncio.get_running_loop().time() + ttl)
        keys = (key,) if tenant is None else (key, TenantKey(KeyKind.ID, str(tenant.id)))
        for each in keys:
            self._entries[each] = entry
            self._entries.move_to_end(each)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)


def servable(tenant: Tenant) -> Tenant:
    """Return *tenant* if its state allows requests, else raise the state's one answer.

    Raises:
        UnknownTenantError: it is being deleted; to a client it is gone.
        TenantSuspendedError: it is suspended.
        TenantNotReadyError: it is being made.
    """
    match tenant.state:
        case State.ACTIVE | State.READ_ONLY:
            return tenant
        case State.SUSPENDED:
            raise TenantSuspendedError(f"tenant {tenant.slug!r} is suspended")
        case State.PROVISIONING:
            raise TenantNotReadyError(f"tenant {tenant.slug!r} is still being made")
        case State.DELETING:
            raise UnknownTenantError(f"tenant {tenant.slug!r} is being deleted")


def _tenant(row: asyncpg.Record) -> Tenant:
    return Tenant(
        row["id"],
        row["slug"],
        row["schema_name"],
        State(row["state"]),
        row["version"],
        primary_domain=row["primary_domain"],
        limits=limits.read(row["settings"], row["slug"]),
    )
