"""Looking at tenants; changes nothing."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import asyncpg

from tenancy import walls
from tenancy.provision import audit, profiles
from tenancy.provision.audit import Entry, Wanted
from tenancy.provision.desk import Desk
from tenancy.provision.profiles import Profile
from tenancy.tenant import State


class Looking(Desk):
    """What an operator sees."""

    async def show(self, slug: str) -> Profile:
        """Return the tenant called *slug*.

        Raises:
            UnknownTenantError: there is none.
        """
        async with self._readable():
            return await profiles.find(self._conn, slug)

    async def list(self) -> tuple[Profile, ...]:
        """Return all tenants, by slug."""
        async with self._readable():
            return await profiles.every(self._conn)

    async def page(
        self,
        *,
        states: Collection[State] = (),
        search: str | None = None,
        after: str | None = None,
        limit: int = profiles.PAGE,
    ) -> tuple[Profile, ...]:
        """Return some tenants, by slug; see `profiles.page`."""
        async with self._readable():
            return await profiles.page(
                self._conn, states=states, search=search, after=after, limit=limit
            )

    async def history(
        self, slug: str, *, before: int | None = None, limit: int = audit.PAGE
    ) -> tuple[Entry, ...]:
        """Return what was done to the tenant that has *slug*, or had it last: the newest first.

        Whatever it was called at the time. What was refused or failed before there was a tenant
        is in it too, by the slug that was asked for.

        Args:
            slug: the tenant's.
            before: the last id of the page before this one.
            limit: entries at most.

        Raises:
            UnknownTenantError: no tenant has the slug, and nobody ever asked for it.
        """
        async with self._readable():
            found = await audit.history(self._conn, slug, before=before, limit=limit)
            if not found and before is None:
                await profiles.find(self._conn, slug)
            return found

    async def entries(self, wanted: Wanted = audit.ALL) -> tuple[Entry, ...]:
        """Return what was done, to any tenant, the newest first; see `audit.entries`."""
        async with self._readable():
            return await audit.entries(self._conn, wanted)

    async def walls(self) -> str:
        """Return the SQL that a superuser runs once for level ``strict``; see `walls.sql`."""
        row = await self._conn.fetchrow("SELECT current_database()::text, session_user::text")
        return walls.sql(row[0], owner=row[1], login=self._login)

    @asynccontextmanager
    async def _readable(self) -> AsyncIterator[None]:
        try:
            yield
        except asyncpg.InsufficientPrivilegeError as error:
            raise self.rights.lacking() from error
