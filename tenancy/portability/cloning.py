"""A second tenant out of a living one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tenancy import identifiers
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.portability import anonymising, settling
from tenancy.portability.importing import Imported, become
from tenancy.portability.living import living
from tenancy.portability.settling import Wish
from tenancy.provision import Actor, Event, Hooks, Step, administrator, audit
from tenancy.provision.audit import Outcome
from tenancy.settings import Settings


async def clone(  # noqa: PLR0913 - what, and on whose behalf, by name
    settings: Settings,
    slug: str,
    to: str,
    *,
    domains: Sequence[str] = (),
    data: bool = True,
    anonymise: Path | None = None,
    reason: str | None = None,
    actor: Actor | None = None,
    hooks: Hooks | None = None,
) -> Imported:
    """Make the new tenant *to* of the one called *slug*, as that is at this moment.

    In one transaction: nobody sees the copy before it is done. The other one is served meanwhile.

    Args:
        settings: of the deployment.
        slug: whose copy it is.
        to: the slug of the copy.
        domains: custom domains of the copy; you vouch for them.
        data: with its rows; else with none, not even those that the files insert.
        anonymise: a file of SQL that is run in the copy before anybody can see it. Materialized
            views are filled after it.
        reason: for the audit of both.
        actor: on whose behalf; by default the account that this process runs as.
        hooks: of the deployment.

    Raises:
        UnknownTenantError: there is none called *slug*.
        InvalidSlugError, InvalidDomainError: the name cannot be used.
        SlugTakenError, DomainTakenError: another tenant has it.
        MigrationFileError, MigrationFailedError: *anonymise* is refused, or has failed.
        LockHeldError: the schema is being migrated.
        MigrationRefusedError, NotPortableError, DatabaseSetupError: as `import_`.
    """
    file = None
    if anonymise is not None:
        file = await asyncio.to_thread(anonymising.read, anonymise, settings)
    what = {"data": data, "anonymised": file and file.sha256}
    async with administrator(settings, actor=actor, hooks=hooks) as admin:
        names = admin.custom_domains(domains)
        profile = await admin.show(slug)
        given = Event(
            *(Step.CLONE, slug, admin.actor, admin.connection, profile),
            {"to": identifiers.slug(to), **what},
            reason,
        )

        async def anonymised(schema: SchemaRef) -> None:
            if file is not None:
                await file.run(admin.connection, schema, shared=settings.shared_schema)

        async def told() -> None:
            await audit.record(admin.connection, given, Outcome.DONE)

        async with living(admin, profile) as image:
            tenant = image.portrait.tenant
            wish = Wish(to, names, has_primary=True, state=settling.state_of(tenant), same=False)
            return await become(
                *(admin, Step.CLONE, image, wish),
                reason=reason,
                detail={"from": slug, **what},
                data=data,
                then=anonymised,
                last=told,
            )
