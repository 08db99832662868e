"""Deleting or purging a tenant that is exported on its way out."""

import asyncio
from datetime import timedelta
from pathlib import Path

from tenancy.portability import packing
from tenancy.portability.exporting import Exported, export
from tenancy.provision import Administrator, administrator
from tenancy.provision.removal import WAIT_SECONDS
from tenancy.settings import Settings
from tenancy.tenant import State

# Who purges what is due must not be faster than the export.
EXPORTED_WITHIN = timedelta(days=1)


async def delete(
    settings: Settings,
    slug: str,
    to: Path,
    *,
    after: timedelta | None = None,
    reason: str | None = None,
) -> Exported:
    """Delete the tenant called *slug*, and export to *to* all that was written until then.

    Where the export fails it is not deleted. Killed in between, it is, and the same again exports
    it. Until it is exported it can be purged in a day at the earliest.

    Args:
        settings: of the deployment.
        slug: the tenant's.
        to: as for `export`.
        after: as for `Administrator.delete`.
        reason: for the audit.

    Raises:
        TenancyError: as `Administrator.delete` and `export`.
    """
    async with administrator(settings) as admin:
        await packing.refuse_unfit(to)  # a slip in a path takes no tenant out of service
        was_deleted = (await admin.show(slug)).tenant.state is State.DELETING
        grace = timedelta(days=settings.deletion_grace_days) if after is None else after
        soon = timedelta(0) <= grace < EXPORTED_WITHIN
        await admin.delete(slug, after=EXPORTED_WITHIN if soon else after, reason=reason)
        try:
            done = await export(settings, slug, to, reason=reason)
        except BaseException:
            if not was_deleted:
                await asyncio.shield(asyncio.create_task(_back(admin, slug)))
            raise
        if soon and (await admin.show(slug)).tenant.state is State.DELETING:
            await admin.delete(slug, after=grace, reason=reason)
        return done


async def purge(  # noqa: PLR0913 - what, and how, by name
    settings: Settings,
    slug: str,
    to: Path,
    *,
    early: bool = False,
    wait_seconds: float = WAIT_SECONDS,
    reason: str | None = None,
) -> Exported:
    """Export the deleted tenant called *slug* to *to*, then purge it.

    Where the export fails nothing is dropped.

    Args:
        settings: of the deployment.
        slug: the tenant's.
        to: as for `export`.
        early: as for `Administrator.purge`, like the others.
        wait_seconds: likewise.
        reason: for the audit.

    Raises:
        TenancyError: as `Administrator.purge` and `export`.
    """
    async with administrator(settings) as admin:
        await admin.purgeable(slug, early=early)
        done = await export(settings, slug, to, reason=reason)
        await admin.purge(slug, early=early, wait_seconds=wait_seconds, reason=reason)
        return done


async def _back(admin: Administrator, slug: str) -> None:
    await admin.restore(slug, reason="the export failed")
