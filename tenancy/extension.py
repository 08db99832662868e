"""`Tenancy`: the object an application holds."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from quart import Quart

from tenancy import preflight, resolvers, scope, startup, tenant
from tenancy import settings as settings_module
from tenancy.errors import (
    MisdirectedHostError,
    NotStartedError,
    TenancyError,
    TenantNotReadyError,
    TenantReadOnlyError,
)
from tenancy.fairness import entrance
from tenancy.fanout import Fanout
from tenancy.jobs import Jobs
from tenancy.pool.pool import Init, Pool
from tenancy.registry.registry import Registry
from tenancy.resolvers import KeyKind, Resolver, TenantKey
from tenancy.scope import IsolationLevel
from tenancy.settings import Settings
from tenancy.tenant import State, Tenant
from tenancy.transaction import Transaction
from tenancy.versions import ALL, parse
from tenancy.web import asgi, readiness, shutdown
from tenancy.web.audience import Marks
from tenancy.web.authorization import Authorization, Authorize, Principal
from tenancy.web.hooks import Hooks
from tenancy.web.resolution import Resolution

_log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
MAX_TRIES = 3


class Tenancy(Marks, Jobs, Fanout):
    """Tenants of one database, for one process: resolver, registry, pool and gate.

    Use it as an application's extension (`init_app`), around any ASGI application (`middleware`),
    or alone in a script: ``async with Tenancy() as tenancy``.

    Args:
        resolver: from a request to the key of its tenant; by default the sub-domains of
            ``TENANCY_BASE_DOMAINS``, and custom domains.
        settings: by default those of the environment.
        principal: from an ASGI scope to whoever asks, or None; plain or async. In a Quart
            application it runs in the request's context, where ``session`` may be read. By default
            whom the resolver has verified: the claims of a token.
        authorize: from a principal and a `Tenant` to whether it may use it; plain or async. Asked
            before each view and websocket of a tenant. Without a principal the answer is 401, and
            for anything but True 403.
        connection_init: runs once on each new connection, before any tenant's: the place for type
            codecs.
        versions: checkpoints that this build serves, such as ``">=0007"`` or ``">=0007,<=0009"``;
            by default ``TENANCY_VERSIONS``, else all. Tenants at others are answered 503.

    Raises:
        SettingsError: the environment is not acceptable.
        InvalidVersionsError: *versions* is no range, or an empty one.
        TypeError: *resolver* or another one of the functions cannot be called.
    """

    def __init__(  # noqa: PLR0913 - by name, and each with a default
        self,
        resolver: Resolver | None = None,
        *,
        settings: Settings | None = None,
        principal: Principal | None = None,
        authorize: Authorize | None = None,
        connection_init: Init | None = None,
        versions: str | None = None,
    ) -> None:
        super().__init__()
        for name, given in (
            ("resolver", resolver),
            ("principal", principal),
            ("authorize", authorize),
            ("connection_init", connection_init),
        ):
            if given is not None and not callable(given):
                raise TypeError(f"{name} must be callable, not {type(given).__name__}")
        self.settings = settings or settings_module.load()
        resolver = resolver or resolvers.by_host(*self.settings.base_domains)
        self._resolution = Resolution(resolver, self.settings, lambda: self.registry)
        self._authorization = Authorization(principal, authorize)
        self._connection_init = connection_init
        serves = versions if versions is not None else self.settings.versions
        self._serves = parse(serves) if serves is not None else ALL
        self._pool: Pool | None = None
        self._registry: Registry | None = None
        self._starting: asyncio.Task[None] | None = None
        self._readyz = readiness.Probe(lambda: self.pool)

    # Its life

    async def start(self) -> None:
        """Connect, and check that the server can keep the promises of the isolation level.

        Raises:
            DatabaseUnavailableError: the server does not answer.
            DatabaseSetupError: it is not set up; the message says what to run.
            MigrationsPendingError: TENANCY_MIGRATIONS says to wait, and nobody has migrated.
            MigrationError: it says to apply them, and that failed.
        """
        pool = await Pool.open(self.settings, self._connection_init)
        try:
            await startup.bring_up(pool, self.settings)
            async with pool.connection() as conn:
                await preflight.check(conn, self.settings)
            registry = Registry(pool, self.settings, self._serves)
            await registry.start()
        except BaseException:
            await pool.close()
            raise
        self._registry, self._pool = registry, pool

    async def stop(self) -> None:
        """Close every connection; what is still inside a transaction is rolled back."""
        if self._starting is not None:
            while not self._starting.done():  # the driver may swallow one, while it connects
                self._starting.cancel()
                await asyncio.wait({self._starting}, timeout=RESTART_SECONDS)
            self._starting = None
        pool, registry = self._pool, self._registry
        self._pool = self._registry = None
        if registry is not None:
            await registry.stop()
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
            except Exception as error:  # noqa: BLE001 - an application's own, in connection_init
                if repr(error) != said:
                    _log.exception("not ready")
                    said = repr(error)
            await asyncio.sleep(RESTART_SECONDS)

    # Tenants and their transactions

    @property
    def tenant(self) -> Tenant:
        """The tenant that this task serves.

        Raises:
            NoTenantError: it serves none.
        """
        return tenant.current()

    @property
    def principal(self) -> Any:  # noqa: ANN401 - the application knows what it is
        """On whose behalf this task's request comes; None: nobody that is known."""
        request = tenant.request()
        return request.principal if request is not None else None

    async def find(self, slug: str) -> Tenant:
        """Return the tenant called *slug*, in whatever state, as the registry remembers it.

        Raises:
            UnknownTenantError: there is none.
        """
        return await self.registry.find(TenantKey(KeyKind.SLUG, slug))

    async def resolve(self, scope: asgi.Scope) -> Tenant:
        """Return the tenant of an ASGI *scope*, if it may be served; nobody is authorized by it.

        Raises:
            MalformedHostError, MisdirectedHostError, UnknownTenantError, ConflictingTenantsError,
            TenantSuspendedError, TenantNotReadyError, TenantVersionError, RegistryBusyError: as
            their names say; each has one answer over HTTP. A resolver may raise others.
        """
        resolved = await self._resolution(scope)
        if resolved.tenant is None:
            raise MisdirectedHostError("the operator's host serves no tenant")
        return resolved.tenant

    def transaction(
        self,
        of: Tenant | str | None = None,
        *,
        readonly: bool = False,
        isolation: IsolationLevel | None = None,
    ) -> AbstractAsyncContextManager[PoolConnectionProxy]:
        """Return a transaction of a tenant: ``async with`` it, and it commits at the block's end.

        The block has asyncpg's connection. An exception out of the block rolls back.
        `tenancy.transaction.Transaction` has the details and more errors.

        Args:
            of: a tenant, or its slug, for scripts and jobs; by default the one this task serves.
            readonly: the server refuses writes; always so for a tenant in state ``read_only``.
            isolation: of the transaction; None: the server's default.

        Raises:
            NoTenantError: this task serves none and none is named.
            TenantMismatchError: this task serves another.
            UnknownTenantError, TenantSuspendedError, TenantNotReadyError, TenantReadOnlyError: its
                state does not allow it.
            TenantVersionError: its schema is at a checkpoint that this build does not serve.
            NotStartedError: `start` has not been called.
        """
        return _OfTenant(self, of, readonly=readonly, isolation=isolation)

    def shared(self) -> AbstractAsyncContextManager[PoolConnectionProxy]:
        """Return a read-only transaction whose path is the shared schema alone.

        With the login's own rights and no tenant: for operators' code.
        """
        return Transaction(self.pool, scope.shared(self.settings))

    async def _admitted(self, of: Tenant | str | None = None) -> Tenant:
        """Return *of*, by default the tenant that this task serves, if it has a transaction now.

        Raises:
            NoTenantError, TenantMismatchError, UnknownTenantError, TenantSuspendedError,
            TenantNotReadyError: as `transaction`.
        """
        if isinstance(of, str):
            named = await self.find(of)
        else:
            # Again, from memory: a websocket outlives the suspension of its tenant.
            whose = of if of is not None else tenant.current()
            named = await self.registry.find(TenantKey(KeyKind.ID, str(whose.id)))
        return tenant.admit(self.registry.servable(named))

    async def _enter(self, whose: Tenant) -> entrance.Ticket:
        return await entrance.enter(self.pool.entrance, whose.schema)

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

    def middleware(
        self, app: asgi.Application, *, operator: asgi.Application | None = None
    ) -> asgi.Front:
        """Return *app*, any ASGI application, with each request inside its tenant.

        Starts and stops this object with the application's lifespan, which it must support.

        Args:
            app: serves the tenants' requests, after `authorize` has admitted them.
            operator: serves those at ``TENANCY_OPERATOR_HOSTS``; without it they are refused (421).
        """
        return asgi.Front(
            app,
            self._resolution,
            enter=self._enter,
            authorize=self._authorization.check,
            operator=operator,
            lifespan=(self._start_in_background, self.stop),
        )

    def init_app(
        self,
        app: Quart,
        *,
        probes: bool = False,
        bind_sessions: bool = True,
        operator: asgi.Application | None = None,
    ) -> None:
        """Put each request of *app* inside its tenant, and answer our errors as problem documents.

        Args:
            app: a Quart application, before its first request.
            probes: answer ``/healthz`` and ``/readyz`` on any host.
            bind_sessions: refuse a session that was made for another tenant (403), and show none
                that was made elsewhere; False: the application sees to that.
            operator: serves the requests at ``TENANCY_OPERATOR_HOSTS``, such as the operator's API;
                without it *app* does, by views that are marked so.
        """
        app.extensions["tenancy"] = self
        answers: dict[str, asgi.Probe] = {"/healthz": readiness.alive, "/readyz": self._readyz}
        hooks = Hooks(
            self._resolution,
            enter=self._enter,
            audiences=self._audiences,
            authorization=self._authorization,
            lifespan=(self._start_in_background, self.stop),
            bind_sessions=bind_sessions,
        )
        hooks.attach(app, answers if probes else {}, operator)


class _OfTenant(Transaction):
    """A tenant's transaction; who that is, and whether it is served, is found out as it begins."""

    __slots__ = ("_isolation", "_of", "_readonly", "_tenancy", "_whose")

    def __init__(
        self,
        tenancy: Tenancy,
        of: Tenant | str | None,
        *,
        readonly: bool,
        isolation: IsolationLevel | None,
    ) -> None:
        self._tenancy = tenancy
        self._of = of
        self._readonly = readonly
        self._isolation: IsolationLevel | None = isolation

    async def __aenter__(self) -> PoolConnectionProxy:
        registry = self._tenancy.registry
        for _ in range(MAX_TRIES):
            changes = registry.changes
            whose = await self._tenancy._admitted(self._of)  # noqa: SLF001 - a part of it
            inside = scope.of_tenant(
                whose, self._tenancy.settings, readonly=self._readonly, isolation=self._isolation
            )
            self._whose = whose
            super().__init__(self._tenancy.pool, inside)
            conn = await super().__aenter__()
            if changes == registry.changes or registry.has(whose):
                return conn
            # Suspended or migrated while it waited for the connection; nothing has run yet.
            await super().__aexit__(None, TenantNotReadyError(), None)
        raise TenantNotReadyError(f"tenant {whose.slug!r} was changed again and again: try later")

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await super().__aexit__(kind, error, trace)
        refused = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
        if refused and self._whose.state is State.READ_ONLY:
            raise TenantReadOnlyError(f"tenant {self._whose.slug!r} is read-only") from error


def _not_started() -> NotStartedError:
    return NotStartedError(
        "tenancy is not started: use `async with Tenancy() as tenancy`, or serve the application; "
        "if it is being served, the log says why it is not ready"
    )
