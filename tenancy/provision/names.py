"""Giving a tenant another slug."""

import asyncpg

from tenancy import identifiers
from tenancy.errors import SlugTakenError
from tenancy.provision.hooks import Step
from tenancy.provision.looking import Looking
from tenancy.provision.profiles import Profile

# Before the row: whoever makes a tenant with the new slug may want it.
_HOLD = "SELECT tenancy.hold_slugs($1, $2)"

# The trigger `take_slug` takes the new slug out of everybody's former ones, this tenant's too.
_RENAME = """
    UPDATE tenancy.tenants SET slug = $2, updated_at = now(),
        former_slugs = CASE WHEN $3 THEN former_slugs || slug ELSE former_slugs END
    WHERE id = $1
"""


class Names(Looking):
    """A tenant's slug, and those it had."""

    async def rename(self, slug: str, to: str, *, redirect: bool = True) -> Profile:
        """Give the tenant called *slug* the slug *to*; its schema and its role stay what they are.

        The slug is free at once: a tenant that takes it gets a schema of its own, and the redirect
        ends.

        Args:
            slug: the one it has.
            to: the one it shall have; one that it had before is as good as any.
            redirect: answer requests for *slug* by a redirect (308) to *to*, for as long as nobody
                else takes it; see ``TENANCY_REDIRECT_FORMER_SLUGS``.

        Raises:
            UnknownTenantError: there is no such tenant.
            InvalidSlugError: *to* cannot be a slug.
            SlugTakenError: another tenant has it.
        """
        to = identifiers.slug(to)
        async with self.step(Step.RENAME, slug, detail={"to": to, "redirect": redirect}) as event:
            await self._conn.execute(_HOLD, slug, to)
            event.profile = await self.held(slug)
            if slug == to:
                event.unchanged = True
                return event.profile
            try:
                await self._conn.execute(_RENAME, event.profile.tenant.id, to, redirect)
            except asyncpg.UniqueViolationError as error:
                raise SlugTakenError(
                    f"another tenant has the slug {to!r}: choose another"
                ) from error
            event.profile = await self.held(to)
        return event.profile
