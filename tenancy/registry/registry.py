"""Who the tenants are: from memory, and from the database where memory may not be believed.

All tenants are read at the start, and each changed one again when the server tells of it
(`listener`). As long as we hear, a name that is not in memory is nobody's, and costs no query,
however many are made up: that is why everything is read, rather than each name when it is first
asked for.

Where we do not hear, or where there are more tenants than may be kept, names never seen are looked
up, so many a second and on half of the pool at most. Tenants seen before do not wait for those.
"""

import asyncio
import logging
from contextvars import Context

from tenancy import versions
from tenancy.errors import (
    MisdirectedHostError,
    RegistryBusyError,
    TenancyError,
    TenantNotReadyError,
    TenantSuspendedError,
    TenantVersionError,
    UnknownTenantError,
)
from tenancy.pool.pool import Pool
from tenancy.registry import lookup
from tenancy.registry.bucket import Bucket
from tenancy.registry.directory import Directory
from tenancy.registry.listener import Listener
from tenancy.registry.lookup import Fetch
from tenancy.registry.memory import NOBODY, STRANGER, Memory
from tenancy.resolvers import KeyKind, TenantKey
from tenancy.settings import Settings
from tenancy.tenant import State, Tenant
from tenancy.versions import Versions

_log = logging.getLogger(__name__)

RELOAD_PAUSE_SECONDS = 0.5  # whoever may NOTIFY can have all read again, but not more often


class Registry:
    """What one process knows of the tenants.

    Args:
        serves: checkpoints that this build serves.
    """

    def __init__(self, pool: Pool, settings: Settings, serves: Versions = versions.ALL) -> None:
        self._pool = pool
        self._settings = settings
        self._serves = serves
        self._memory = Memory(settings)
        self._asking: dict[TenantKey, asyncio.Task[Tenant | None]] = {}
        self._tasks: set[asyncio.Task[Tenant | None]] = set()  # the loop alone would not keep them
        self._bucket = Bucket(settings.registry_lookups_per_second)
        self._strangers = asyncio.Semaphore(max(1, settings.pool_max_size // 2))
        self._listener = Listener(settings, self) if settings.registry_listen else None
        self._said_too_many = False

    async def start(self) -> None:
        """Read all tenants, and listen to changes from here on where that can be.

        Raises:
            PoolExhaustedError, DatabaseUnavailableError, DatabaseSetupError: nobody could be asked.
        """
        try:
            if self._listener is not None:
                await self._listener.start()
            if not self.listening:
                await self._reload(self._pool.read)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            await self._listener.stop()

    @property
    def listening(self) -> bool:
        """Whether changes are heard of at once, and not only after a time to live."""
        return self._memory.hears(_now())

    @property
    def changes(self) -> int:
        """How many changes of tenants were heard of; while it stays the same nobody has changed."""
        return self._memory.changes

    def has(self, tenant: Tenant) -> bool:
        """Whether *tenant* is in memory exactly as given."""
        return self._memory.recall(TenantKey(KeyKind.ID, str(tenant.id)), _now()) == tenant

    async def find(self, key: TenantKey) -> Tenant:
        """Return the tenant of *key* in whatever state it is.

        Raises:
            UnknownTenantError: no tenant has this slug or id.
            MisdirectedHostError: no tenant has this domain, so we do not answer for it.
            RegistryBusyError: it is a name never seen, and too many of those are asked for.
            PoolExhaustedError, DatabaseUnavailableError, DatabaseSetupError: nobody could be asked.
        """
        tenant = None if key.kind is KeyKind.FORMER_SLUG else await self._look(key)
        if tenant is None:
            raise _unknown(key)
        return tenant

    async def successor(self, slug: str) -> Tenant | None:
        """Return the tenant that had *slug* once, if nobody has it now; None: there is none.

        For a redirect alone: it is not the tenant of whoever names *slug*.

        Raises:
            RegistryBusyError, PoolExhaustedError, DatabaseUnavailableError, DatabaseSetupError: as
                `find`.
        """
        if await self._look(TenantKey(KeyKind.SLUG, slug)) is not None:
            return None
        tenant = await self._look(TenantKey(KeyKind.FORMER_SLUG, slug))
        return None if tenant is None or tenant.state is State.DELETING else tenant

    async def _look(self, key: TenantKey) -> Tenant | None:
        answer = self._memory.recall(key, _now())
        if isinstance(answer, Tenant):
            return answer
        if answer is NOBODY:
            return None
        return await self._ask_once(key, stranger=answer is STRANGER)

    def servable(self, tenant: Tenant) -> Tenant:
        """Return *tenant* if its state and its version allow requests, else raise their one answer.

        Raises:
            UnknownTenantError: it is being deleted; to a client it is gone.
            TenantSuspendedError: it is suspended.
            TenantNotReadyError: it is being made.
            TenantVersionError: its schema is at a checkpoint that this build does not serve.
        """
        match tenant.state:
            case State.SUSPENDED:
                raise TenantSuspendedError(f"tenant {tenant.slug!r} is suspended")
            case State.PROVISIONING:
                raise TenantNotReadyError(f"tenant {tenant.slug!r} is still being made")
            case State.DELETING:
                raise UnknownTenantError(f"tenant {tenant.slug!r} is being deleted")
        if tenant.version not in self._serves:
            raise TenantVersionError(
                f"tenant {tenant.slug!r} is at version {tenant.version}, and this build serves "
                f"{self._serves}: run `python -m tenancy.migrate`, or a build that serves it"
            )
        return tenant

    def forget(self) -> None:
        """Ask the database again for every name."""
        self._memory.forget()
        self._asking.clear()

    # Asking

    async def _ask_once(self, key: TenantKey, *, stranger: bool) -> Tenant | None:
        """Ask the database; a hundred requests for one name ask once."""
        task = self._asking.get(key)
        if task is None:
            if stranger and not self._bucket.take(_now()):
                raise _busy()
            asking = self._ask_for_stranger(key) if stranger else self._ask(key)
            task = asyncio.get_running_loop().create_task(asking, context=Context())
            self._asking[key] = task
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)  # one waiter's cancellation must not fail the others

    def _asked(self, key: TenantKey, done: "asyncio.Task[Tenant | None]") -> None:
        self._tasks.discard(done)
        if self._asking.get(key) is done:
            del self._asking[key]
        if not done.cancelled():
            done.exception()  # its waiters may all have gone

    async def _ask_for_stranger(self, key: TenantKey) -> Tenant | None:
        patience = self._settings.pool_acquire_timeout_seconds
        try:
            async with asyncio.timeout(patience):
                await self._strangers.acquire()
        except TimeoutError:
            raise _busy() from None
        try:
            return await self._ask(key)
        finally:
            self._strangers.release()

    async def _ask(self, key: TenantKey) -> Tenant | None:
        changes, asked_at = self._memory.changes, _now()
        found = await lookup.one(self._pool.read, key)
        if changes == self._memory.changes:  # else it may be of before the change
            self._memory.learn(key, found, asked_at)
        return found.tenant if found is not None else None

    # Following; the listener calls

    def changed(self, payload: str) -> None:
        """Serve a changed tenant from memory no more; *payload*: its id, anything else for all."""
        self._memory.change(payload)
        self._asking.clear()  # who asks from here on gets no answer of before

    async def catch_up(self, fetch: Fetch, *, everything: bool) -> None:
        """Read again what changed; or *everything*, which is done every few minutes as well."""
        memory = self._memory
        if memory.all_changed and not everything:
            await asyncio.sleep(memory.reloaded_at + RELOAD_PAUSE_SECONDS - _now())
        due = memory.reloaded_at + self._settings.registry_refresh_seconds
        if everything or memory.all_changed or due <= _now():
            await self._reload(fetch)
        elif memory.changed:
            changed, asked_at = dict(memory.changed), _now()
            memory.learn_changed(changed, await lookup.some(fetch, list(changed)), asked_at)

    def heard(self, at: float) -> None:
        """Believe memory for a time to live from *at* on."""
        self._memory.heard(at)

    async def _reload(self, fetch: Fetch) -> None:
        changed, asked_at = dict(self._memory.changed), _now()
        limit = self._settings.registry_max_entries
        tenants, count = Directory(limit), 0
        self._memory.all_changed = False
        async for page in lookup.pages(fetch, limit + 1):
            count += len(page)
            for found in page:
                tenants.put(*found, asked_at)
        self._memory.learn_all(changed, tenants, complete=count <= limit)
        self._memory.reloaded_at = _now()
        self._asking.clear()
        if count > limit and not self._said_too_many:
            _log.warning(
                "there are more tenants than TENANCY_REGISTRY_MAX_ENTRIES=%s, so names that are "
                "not in memory have to be looked up: raise it",
                limit,
            )
            self._said_too_many = True


def _now() -> float:
    return asyncio.get_running_loop().time()


def _unknown(key: TenantKey) -> TenancyError:
    if key.kind is KeyKind.DOMAIN:
        return MisdirectedHostError(f"{key.name!r} is no tenant's domain")
    return UnknownTenantError(f"no tenant has the {key.kind} {key.name!r}")


def _busy() -> RegistryBusyError:
    return RegistryBusyError(
        "too many names that are not in memory are asked for: these may be made up; else raise "
        "TENANCY_REGISTRY_LOOKUPS_PER_SECOND"
    )
