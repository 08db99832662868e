"""What tenants may use, and what requests may do with them."""

import json
from collections.abc import Mapping

import asyncpg

from tenancy.fairness import limits
from tenancy.provision import profiles
from tenancy.provision.hooks import Step
from tenancy.provision.looking import Looking
from tenancy.provision.profiles import Profile


class Granting(Looking):
    """Rights and limits."""

    async def grant(self) -> int:
        """Give the login of requests what it needs for every tenant; return how many there are.

        For a database whose tenants were made under another isolation level or another login.

        Raises:
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        tenants = await self.list()
        try:
            await self.rights.open_catalog()
            for profile in tenants:
                async with self._conn.transaction():  # one each: locks of all would not fit
                    await self.rights.open_schema(profile.tenant.schema)
                    await self.rights.open_tables(profile.tenant.schema)
        except asyncpg.InsufficientPrivilegeError as error:
            raise self.rights.lacking() from error
        return len(tenants)

    async def limit(self, slug: str, changes: Mapping[str, float | None]) -> Profile:
        """Set what the tenant called *slug* may use; processes learn of it as of any change.

        Args:
            slug: the tenant's.
            changes: new values by their names in `fairness.limits`; None: the settings' own again.
                What is not named stays as it is.

        Raises:
            UnknownTenantError: there is none.
            InvalidLimitError: the value makes no sense, or is over what the settings allow to all.
        """
        for name, value in changes.items():
            limits.check(name, value, self.settings.statement_timeout_seconds)
        given = {name: value for name, value in changes.items() if value is not None}
        async with self.step(Step.LIMIT, slug, detail=changes) as event:
            event.profile = await self.held(slug)
            await self._conn.execute(
                "UPDATE tenancy.tenants SET settings = (settings - $2::text[]) || $3::jsonb, "
                "updated_at = now() WHERE slug = $1",
                slug,
                list(changes),
                json.dumps(given),
            )
            event.profile = await profiles.find(self._conn, slug)
        return event.profile
