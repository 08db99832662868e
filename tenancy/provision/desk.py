"""Where a step of a tenant's life is taken: one connection, the hooks, and the audit."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

from tenancy.errors import TenancyError, UnknownTenantError
from tenancy.pool.connect import connect
from tenancy.provision import audit, profiles
from tenancy.provision.actor import Actor
from tenancy.provision.audit import Outcome
from tenancy.provision.hooks import Event, Hooks, Moment, Step
from tenancy.provision.profiles import Profile
from tenancy.rights import Rights
from tenancy.settings import Settings

_log = logging.getLogger(__name__)

SERVER_FAULT = 500


class Desk:
    """One connection of the login that owns schemas and roles; not for two tasks at once.

    Attributes:
        rights: what requests are granted.
        settings: of the deployment.
        actor: on whose behalf steps are taken here.
        hooks: of the deployment.
    """

    def __init__(
        self,
        conn: asyncpg.Connection,
        settings: Settings,
        login: str,
        *,
        actor: Actor | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self.rights = Rights(conn, settings, login)
        self.settings = settings
        self.actor = actor or Actor.of_process()
        self.hooks = hooks or Hooks()
        self._conn = conn
        self._login = login

    @property
    def connection(self) -> asyncpg.Connection:
        """The connection, whose login owns schemas and roles."""
        return self._conn

    @asynccontextmanager
    async def step(
        self,
        step: Step,
        slug: str,
        *,
        reason: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> AsyncIterator[Event]:
        """Take *step* in the block: one transaction, with the hooks and the audit's row in it.

        Where anything raises, nothing has happened, and the audit says who tried, and what ended
        it. The block sets ``event.profile`` as soon as the tenant is known, and ``event.unchanged``
        where it was so already.

        Args:
            step: which one.
            slug: the tenant's, as asked for.
            reason: in the actor's words.
            detail: what else is asked for, as JSON has it; never a row of a tenant.

        Raises:
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        event = Event(step, slug, self.actor, self._conn, None, dict(detail or {}), reason)
        async with self.noting(event), self._conn.transaction():
            await self.hooks.run(Moment.BEFORE, event)
            yield event
            if event.unchanged:
                event.detail["unchanged"] = True
            else:
                await self.hooks.run(Moment.AFTER, event)
            await audit.record(self._conn, event, Outcome.DONE)
        await self.committed(event)

    @asynccontextmanager
    async def noting(self, event: Event) -> AsyncIterator[None]:
        """Let the audit know where the block fails; for a step that takes several transactions.

        Raises:
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        try:
            yield
        except Exception as error:
            await self._failed(event, error)
            if isinstance(error, asyncpg.InsufficientPrivilegeError):
                raise self.rights.lacking() from error
            raise

    async def committed(self, event: Event) -> None:
        """Call the hooks that come after the COMMIT of *event*."""
        event.conn = None
        if not event.unchanged:
            await self.hooks.run(Moment.COMMITTED, event)

    async def held(self, slug: str) -> Profile:
        """Return the tenant called *slug*, which nobody else changes until the transaction ends.

        Raises:
            UnknownTenantError: there is none.
        """
        if not await self._conn.fetchval(
            "SELECT true FROM tenancy.tenants WHERE slug = $1 FOR UPDATE", slug
        ):
            raise UnknownTenantError(f"no tenant has the slug {slug!r}")
        return await profiles.find(self._conn, slug)

    async def _failed(self, event: Event, error: Exception) -> None:
        """Let the audit know, whatever has become of the connection."""
        refused = isinstance(error, TenancyError) and error.status < SERVER_FAULT
        outcome = Outcome.REFUSED if refused else Outcome.FAILED
        code = error.code if isinstance(error, TenancyError) else type(error).__name__
        try:
            if not self._conn.is_closed():
                await audit.record(self._conn, event, outcome, code)
                return
            conn = await connect(self.settings, as_admin=True)
            try:
                await audit.record(conn, event, outcome, code)
            finally:
                await conn.close()
        except (TimeoutError, TenancyError, asyncpg.PostgresError, OSError) as lost:
            _log.error(
                "the audit could not be told of a %s that %s: %s",
                event.step,
                outcome,
                type(lost).__name__,
            )
