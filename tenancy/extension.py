"""`Tenancy`: the object an application holds."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from quart import Quart

from tenancy import asgi, preflight, readiness, registry, resolvers, shutdown, tenant
from tenancy import settings as settings_module
from tenancy.errors import NotStartedError, TenancyError, TenantReadOnlyError
from tenancy.hooks import Hooks
from tenancy.pool import Init, Pool
from tenancy.readiness import Readiness
from tenancy.registry import Registry
from tenancy.resolvers import KeyKind, Resolver, TenantKey
from tenancy.scope import IsolationLevel, Scope
from tenancy.settings import Isolation, Settings
from tenancy.tenant import State, Tenant
from tenancy.transaction import transaction

_log = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., Any])

RESTART_SECONDS = 1.0


class Tenancy:
    """Tenants of one database, for one process: resolver, registry, pool and gate.

    Use it as an application's extension (`init_app`), around any ASGI application (`middleware`),
    or
    alone in a script: ``async with Tenancy() as tenancy``.

    Args:
        resolver: from a request to the key of its tenant; by default the sub-domains of
            ``TENANCY_BASE_DOMAINS``, and custom domains.
        settings: by default those of the environment.
        connection_init: runs once on each new connection, before any tenant's: the place for type
            codecs.

    Raises:
        SettingsError: the environment is not acceptable.
    """

    def __init__(
        self,
        resolver: Resolver | None = None,
        *,
        settings: Settings | None = None,
        connection_init: Init | None = None,
    ) -> None:
        self.settings = settings or settings_module.load()
        self._resolver = resolver or resolvers.by_host(*self.settings.base_domains)
        self._connection_init = connection_init
        self._pool: Pool | None = None
        self._registry: Registry | None = None
        self._starting: asyncio.Task[None] | None = None
        self._readiness: Readiness | None = None
        self._hooks = Hooks(self.resolve, lifespan=(self._start_in_background, self.stop))

    # Its life

    async def start(self) -> None:
        """Connect, and check that the server can keep the promises of the isolation level.

        Raises:
            DatabaseUnavailableError: the server does not answer.
            DatabaseSetupError: it is not set up; the message says what to run.
        """
        pool = await Pool.open(self.settings, self._connection_init)
        try:
            async with pool.connection() as conn:
                await preflight.check(conn, self.settings)
        except BaseException:
            await pool.close()
            raise
        self._registry = Registry(pool, self.settings)
        self._pool = pool

    async def stop(self) -> None:
        """Close every connection; what is still inside a transaction is rolled back."""
        if self._starting is not None:
            self._starting.cancel()
            with suppress(asyncio.CancelledError):
                await self._starting
            self._starting = None
        pool, self._pool, self._registry = self._pool, None, None
        if pool is not None:
            await pool.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start_in_background(self) -> None:
        """Start, or go on trying: an application may be up before its database is."""
        shutdown.drain_on_sigterm()
        self._starting = asyncio.create_task(self._start_until_ready())
        await asyncio.wait({self._starting}, timeout=RESTART_SECONDS)

    async def _start_until_ready(self) -> None:
        said = ""
        while True:
            try:
                return await self.start()
            except TenancyError as error:
                if str(error) != said:
                    _log.error("not ready: %s", error)
                    said = str(error)
            except Exception:  # noqa: BLE001 - an application's own, in connection_init
                _log.exception("not ready")
            await asyncio.sleep(RESTART_SECONDS)

    # Tenants and their transactions

    @property
    def tenant(self) -> Tenant:
        """The tenant that this task serves.

        Raises:
            NoTenantError: it serves none.
        """
        return tenant.current()

    async def find(self, slug: str) -> Tenant:
        """Return the tenant called *slug*, in whatever state, as the registry remembers it.

        Raises:
            UnknownTenantError: there is none.
        """
        return await self.registry.find(TenantKey(KeyKind.SLUG, slug))

    async def resolve(self, scope: resolvers.Scope) -> Tenant:
        """Return the tenant of an ASGI *scope*, if it may be served.

        Raises:
            MalformedHostError, MisdirectedHostError, UnknownTenantError, TenantSuspendedError,
            TenantNotReadyError: as their names say; each has one answer over HTTP.
        """
        key = self._resolver(scope)
        return registry.servable(await self.registry.find(key))

    @asynccontextmanager
    async def transaction(
        self,
        of: Tenant | str | None = None,
        *,
        readonly: bool = False,
        isolation: IsolationLevel | None = None,
    ) -> AsyncIterator[PoolConnectionProxy]:
        """Yield asyncpg's connection inside one transaction of a tenant; commit at the block's end.

        An exception out of the block rolls back. `tenancy.transaction.transaction` has the details
        and more errors.

        Args:
            of: a tenant, or its slug, for scripts and jobs; by default the one this task serves.
            readonly: the server refuses writes; always so for a tenant in state ``read_only``.
            isolation: of the transaction; None: the server's default.

        Raises:
            NoTenantError: this task serves none and none is named.
            TenantMismatchError: this task serves another.
            UnknownTenantError, TenantSuspendedError, TenantNotReadyError, TenantReadOnlyError: its
                state does not allow it.
            NotStartedError: `start` has not been called.
        """
        whose = await self._named(of)
        scope = Scope(
            schemas=(whose.schema, self.settings.shared_schema),
            role=self._role_of(whose),
            readonly=readonly or whose.state is State.READ_ONLY,
            isolation=isolation,
            shape=whose.version or "",
            strict=self._strict,
        )
        try:
            async with transaction(self.pool, scope) as conn:
                yield conn
        except asyncpg.ReadOnlySQLTransactionError as error:
            if whose.state is not State.READ_ONLY:
                raise
            raise TenantReadOnlyError(f"tenant {whose.slug!r} is read-only") from error

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[PoolConnectionProxy]:
        """Yield a connection inside a read-only transaction whose path is the shared schema alone.

        With the login's own rights and no tenant: for operators' code.
        """
        schemas = (self.settings.shared_schema,)
        scope = Scope(schemas, readonly=True, strict=self._strict)
        async with transaction(self.pool, scope) as conn:
            yield conn

    async def _named(self, of: Tenant | str | None) -> Tenant:
        if of is None:
            # Again, from memory: a websocket outlives the suspension of its tenant.
            key = TenantKey(KeyKind.ID, str(tenant.current().id))
            return registry.servable(await self.registry.find(key))
        named = await self.find(of) if isinstance(of, str) else of
        return tenant.admit(registry.servable(named))

    def _role_of(self, whose: Tenant) -> str | None:
        return whose.schema if self.settings.isolation.sets_role else None

    @property
    def _strict(self) -> bool:
        return self.settings.isolation is Isolation.STRICT

    @property
    def pool(self) -> Pool:
        """The connections of this process.

        Raises:
            NotStartedError: there are none.
        """
        if self._pool is None:
            raise _not_started()
        return self._pool

    @property
    def registry(self) -> Registry:
        """What this process knows of the tenants.

        Raises:
            NotStartedError: as `pool`.
        """
        if self._registry is None:
            raise _not_started()
        return self._registry

    # Applications

    def exempt(self, view: View) -> View:
        """Let *view* answer requests that have no tenant: sign-up, webhooks. A decorator."""
        self._hooks.exempt(view)
        return view

    def middleware(self, app: asgi.Application) -> asgi.Front:
        """Return *app*, any ASGI application, with each request inside its tenant.

        Starts and stops this object with the application's lifespan, which it must support.
        """
        return asgi.Front(app, self.resolve, lifespan=(self._start_in_background, self.stop))

    def init_app(self, app: Quart, *, probes: bool = False) -> None:
        """Put each request of *app* inside its tenant, and answer our errors as problem documents.

        Args:
            app: a Quart application, before its first request.
            probes: answer ``/healthz`` and ``/readyz`` on any host.
        """
        app.extensions["tenancy"] = self
        answers = {"/healthz": readiness.alive, "/readyz": self._readyz} if probes else {}
        self._hooks.attach(app, answers)

    async def _readyz(self) -> tuple[int, bytes]:
        now = asyncio.get_running_loop().time()
        if self._readiness is None or self._readiness.expires_at <= now:
            try:
                self._readiness = await readiness.ask(self.pool)
            except NotStartedError as error:
                self._readiness = Readiness(now, reason=error.code)
        return self._readiness.status, self._readiness.body


def _not_started() -> NotStartedError:
    return NotStartedError(
        "tenancy is not started: use `async with Tenancy() as tenancy`, or serve the application; "
        "if it is being served, the log says why it is not ready"
    )
