"""Looking at tenants; changes nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tenancy import walls
from tenancy.provision import profiles
from tenancy.provision.desk import Desk
from tenancy.provision.profiles import Profile


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
