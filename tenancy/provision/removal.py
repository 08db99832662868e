"""Deleting a tenant: first so that it can be restored, then for good."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg

from tenancy.errors import InvalidGraceError, NotDeletedError, PurgeBegunError, PurgeNotDueError
from tenancy.migrate.ledger import checkpoints, mends
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.upgrade import lock
from tenancy.provision import audit, profiles, reach
from tenancy.provision.audit import Outcome
from tenancy.provision.emptying import Emptying
from tenancy.provision.hooks import Event, Moment, Step
from tenancy.provision.looking import Looking
from tenancy.provision.profiles import Profile
from tenancy.reports import views
from tenancy.tenant import State

LONGEST = timedelta(days=3650)
WAIT_SECONDS = 30.0

# Whoever is set to deleting by hand comes back suspended: nobody knows what he was.
_DELETE = """
    UPDATE tenancy.tenants
    SET state = 'deleting', purge_at = now() + $2::interval, updated_at = now(),
        state_before = CASE WHEN state = 'deleting' THEN state_before ELSE state END
    WHERE id = $1
"""
_RESTORE = """
    UPDATE tenancy.tenants
    SET state = coalesce(state_before, 'suspended'), state_before = NULL, purge_at = NULL,
        updated_at = now()
    WHERE id = $1
"""
_IS_DUE = """
    SELECT coalesce(purge_at <= now(), false) OR purge_begun_at IS NOT NULL
    FROM tenancy.tenants WHERE id = $1
"""
_BEGIN = """
    UPDATE tenancy.tenants SET purge_begun_at = coalesce(purge_begun_at, now()), updated_at = now()
    WHERE id = $1
"""
_DUE = """
    SELECT slug FROM tenancy.tenants
    WHERE state = 'deleting' AND (purge_at <= now() OR purge_begun_at IS NOT NULL)
    ORDER BY purge_at, slug
"""


class Removing(Looking):
    """Deletion, the way back from it, and the purge."""

    async def delete(
        self, slug: str, *, after: timedelta | None = None, reason: str | None = None
    ) -> Profile:
        """Let nobody be served as the tenant called *slug*; it can be purged later, or restored.

        Its slug and domains stay taken, its schema stays as it is and is migrated no more. Done
        once more, it changes nothing, or the date where *after* is given.

        Args:
            slug: the tenant's.
            after: how long it can be restored; None: TENANCY_DELETION_GRACE_DAYS.
            reason: for the audit.

        Raises:
            UnknownTenantError: there is none.
            InvalidGraceError: *after* is negative, or over ten years.
            PurgeBegunError: it is being purged.
        """
        if after is not None and not timedelta(0) <= after <= LONGEST:
            raise InvalidGraceError(
                f"{after.days} days cannot lie between deletion and purge: 0 to {LONGEST.days} can"
            )
        grace = timedelta(days=self.settings.deletion_grace_days) if after is None else after
        async with self.step(Step.DELETE, slug, reason=reason) as event:
            found = event.profile = await self.held(slug)
            await self._refuse_begun(found)
            dated = found.tenant.state is State.DELETING and found.purge_at is not None
            event.unchanged = dated and after is None
            if not event.unchanged:
                await self._conn.execute(_DELETE, found.tenant.id, grace)
                event.profile = await profiles.find(self._conn, slug)
            event.detail["purge_at"] = event.profile.as_json()["purge_at"]
        return event.profile

    async def restore(self, slug: str, *, reason: str | None = None) -> Profile:
        """Let the tenant called *slug* be what it was before it was deleted.

        One that is not deleted stays what it is. Files that came meanwhile are still to be applied
        to it.

        Args:
            slug: the tenant's.
            reason: for the audit.

        Raises:
            UnknownTenantError: there is none, or it was purged.
            PurgeBegunError: it is being purged.
        """
        async with self.step(Step.RESTORE, slug, reason=reason) as event:
            found = event.profile = await self.held(slug)
            await self._refuse_begun(found)
            event.unchanged = found.tenant.state is not State.DELETING
            if not event.unchanged:
                await self._conn.execute(_RESTORE, found.tenant.id)
                event.profile = await profiles.find(self._conn, slug)
        return event.profile

    async def due(self) -> tuple[str, ...]:
        """Return the slugs of those to be purged now, those whose purge was interrupted too."""
        async with self._readable():
            return tuple(row["slug"] for row in await self._conn.fetch(_DUE))

    async def purge(
        self,
        slug: str,
        *,
        early: bool = False,
        wait_seconds: float = WAIT_SECONDS,
        reason: str | None = None,
    ) -> None:
        """Drop the deleted tenant called *slug*: its schema, role, ledger, domains and row.

        It takes as many transactions as the server's lock table asks for. Where it ends early, the
        tenant stays deleted, and the next purge goes on; there is no way back once it has begun.
        Hooks before the purge are called in its first transaction, each time it is begun; those
        after it in the last, which they undo where they raise.

        Args:
            slug: the tenant's.
            early: before its date, too.
            wait_seconds: patience with whoever migrates it, and then, before each transaction, with
                whoever holds locks on its tables.
            reason: for the audit.

        Raises:
            UnknownTenantError: there is none, or it was purged already.
            NotDeletedError, PurgeNotDueError: it is not deleted, or its date has not come.
            SchemaSharedError: something outside depends on its schema; nothing was dropped of it.
            SchemaInUseError: somebody uses its tables; names him.
            ReportInUseError: somebody reads a report that it is in; names him.
            LockHeldError: its schema is being migrated or purged.
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        detail: dict[str, object] = {"early": early}
        event = Event(Step.PURGE, slug, self.actor, self._conn, None, detail, reason)
        async with self.noting(event), self._schema_of(event, wait_seconds) as schema:
            async with self._conn.transaction():
                await self.hooks.run(Moment.BEFORE, event)
                await self._begin(event, schema, early=early)
                await audit.record(self._conn, event, Outcome.BEGUN)
            emptying = Emptying(self._conn, schema, wait_seconds) if schema else None
            if emptying:
                detail["dropped"] = await emptying.run()
            async with self._conn.transaction():
                if emptying:
                    await emptying.finish()
                await self._forget(event, schema)
                await self.hooks.run(Moment.AFTER, event)
                await audit.record(self._conn, event, Outcome.DONE)
        await self.committed(event)

    async def purgeable(self, slug: str, *, early: bool = False) -> Profile:
        """Return the tenant called *slug*, which `purge` would purge now.

        Raises:
            UnknownTenantError, NotDeletedError, PurgeNotDueError: as `purge`.
        """
        found = await self.show(slug)
        await self._refuse_purge(found, early=early)
        return found

    # The parts of `purge`

    @asynccontextmanager
    async def _schema_of(
        self, event: Event, wait_seconds: float
    ) -> AsyncIterator[SchemaRef | None]:
        """Yield the tenant's schema, if there is one, which nobody migrates or purges meanwhile."""
        event.profile = await self.show(event.slug)
        schema = await checkpoints.schema(self._conn, event.profile.tenant.schema)
        if schema is None:
            yield None
            return
        await lock.take(self._conn, schema.oid, wait_seconds)
        try:
            yield schema
        finally:
            with suppress(asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError):
                await self._conn.execute(lock.UNLOCK)

    async def _begin(self, event: Event, schema: SchemaRef | None, *, early: bool) -> None:
        before = event.profile
        found = event.profile = await self.held(event.slug)
        another = before is None or found.tenant.id != before.tenant.id  # took the slug just now
        if another:
            raise _undeleted(event.slug)
        await self._refuse_purge(found, early=early)
        if schema is not None:
            await views.release(self._conn, schema.name)
            await reach.refuse_shared(self._conn, schema)
        await self._conn.execute(_BEGIN, found.tenant.id)

    async def _refuse_purge(self, found: Profile, *, early: bool) -> None:
        slug = found.tenant.slug
        if found.tenant.state is not State.DELETING:
            raise _undeleted(slug)
        if not early and not await self._conn.fetchval(_IS_DUE, found.tenant.id):
            when = f"{found.purge_at:%Y-%m-%d %H:%M %Z}" if found.purge_at else "no date on"
            raise PurgeNotDueError(
                f"{slug} can be restored, and may be purged from {when}: wait, or purge early"
            )

    async def _forget(self, event: Event, schema: SchemaRef | None) -> None:
        if event.profile is None:
            return
        tenant = event.profile.tenant
        if schema is not None:
            await mends.forget(self._conn, [schema.oid])
        event.detail["role_stays"] = not await self.rights.drop_role(tenant.schema)
        await self._conn.execute("DELETE FROM tenancy.tenants WHERE id = $1", tenant.id)

    async def _refuse_begun(self, found: Profile) -> None:
        if await self._conn.fetchval(
            "SELECT purge_begun_at IS NOT NULL FROM tenancy.tenants WHERE id = $1", found.tenant.id
        ):
            raise PurgeBegunError(f"{found.tenant.slug} is being purged: there is no way back")


def _undeleted(slug: str) -> NotDeletedError:
    return NotDeletedError(f"{slug} has not been deleted: delete it first")
