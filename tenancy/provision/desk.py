"""Where a step of a tenant's life is taken: one connection, the hooks, and the audit."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from tenancy.errors import PreconditionFailedError
from tenancy.faults import LOST
from tenancy.provision import audit, profiles
from tenancy.provision.actor import Actor
from tenancy.provision.audit import Outcome
from tenancy.provision.endings import settle
from tenancy.provision.hooks import Event, Hooks, Moment, Step
from tenancy.provision.profiles import Profile
from tenancy.rights import Rights
from tenancy.settings import Settings


class Desk:
    """One connection of the login that owns schemas and roles; not for two tasks at once.

    Attributes:
        rights: what requests are granted.
        settings: of the deployment.
        actor: on whose behalf steps are taken here.
        hooks: of the deployment.
        reason: of steps that are given none of their own; for the audit.
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
        self.reason: str | None = None
        self._conn = conn
        self._login = login
        self._expected: frozenset[str] | None = None

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
        why = self.reason if reason is None else reason
        event = Event(step, slug, self.actor, self._conn, None, dict(detail or {}), why)
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

        Where the connection was lost after the COMMIT that made the step done, it has not failed.

        Raises:
            DatabaseSetupError: the login lacks a right; says which to grant.
            CommitUnknownError: nobody can tell whether the step is done.
        """
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            # Another cancellation must not keep it from the audit.
            ending = asyncio.ensure_future(settle(self._conn, self.settings, event, error))
            if await asyncio.shield(ending) and isinstance(error, LOST):
                return
            if isinstance(error, asyncpg.InsufficientPrivilegeError):
                raise self.rights.lacking() from error
            raise

    async def committed(self, event: Event) -> None:
        """Call the hooks that come after the COMMIT of *event*."""
        event.conn = None
        if not event.unchanged:
            await self.hooks.run(Moment.COMMITTED, event)

    @contextmanager
    def matching(self, etags: Collection[str] | None) -> Iterator[None]:
        """Take the block's first step only on a tenant that is as one of *etags* says.

        It is asked in the step's transaction, once nobody else can change the tenant: who has read
        it and changes it, changes what he has read.

        Args:
            etags: of `Profile.etag`; None: the tenant may be as it is.
        """
        self._expected = None if etags is None else frozenset(etags)
        try:
            yield
        finally:
            self._expected = None

    async def held(self, slug: str) -> Profile:
        """Return the tenant called *slug*, which nobody else changes until the transaction ends.

        Raises:
            UnknownTenantError: there is none.
            PreconditionFailedError: it is not as `matching` says.
        """
        if not await self._conn.fetchval(
            "SELECT true FROM tenancy.tenants WHERE slug = $1 FOR UPDATE", slug
        ):
            raise await profiles.unknown(self._conn, slug)
        profile = await profiles.find(self._conn, slug)
        expected, self._expected = self._expected, None
        if expected is not None and profile.etag not in expected:
            raise PreconditionFailedError(f"tenant {slug!r} was changed since it was read")
        return profile
