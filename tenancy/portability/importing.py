"""A tenant out of a file."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenancy import identifiers, migrate
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.portability import archive, lawful, pouring, settling
from tenancy.portability.image import Image
from tenancy.portability.settling import Wish
from tenancy.provision import Actor, Administrator, Hooks, Profile, Step, administrator
from tenancy.settings import Settings


@dataclass(frozen=True, slots=True)
class Imported:
    """What was made.

    Attributes:
        tables, rows: that came now; none where a move was found to be done already.
        pending: files that it lacks; it is served once they are applied.
    """

    profile: Profile
    tables: int
    rows: int
    pending: int


async def import_(  # noqa: PLR0913 - what, and on whose behalf, by name
    settings: Settings,
    source: Path,
    *,
    slug: str | None = None,
    domains: Sequence[str] | None = None,
    reason: str | None = None,
    actor: Actor | None = None,
    hooks: Hooks | None = None,
) -> Imported:
    """Make a tenant of what `export` has written to *source*; all of it, or nothing.

    Under the slug it had it is the same tenant, with its id, its domains and the state it was in.
    Under another one it is a new tenant, which has the limits of the old one, and no domains but
    those given. One that was suspended, or was to be deleted, comes back suspended.

    Args:
        settings: of the deployment.
        source: a directory or a file, of `export`.
        slug: that it is to have; None: the one it had.
        domains: that it is to have; None: with the slug it had, those it had. You vouch for them.
        reason: for the audit.
        actor: on whose behalf; by default the account that this process runs as.
        hooks: of the deployment.

    Raises:
        ArchiveError: *source* is no export, is damaged, or holds what no export writes.
        InvalidSlugError, InvalidDomainError: the name cannot be used here.
        SlugTakenError, DomainTakenError: another tenant has it, or this one is here already.
        MigrationRefusedError: the files here do not go on from those that were applied to it, or
            the catalog or the shared schema is behind.
        NotPortableError: something of it cannot be made here, or has come out different.
        DatabaseSetupError: the login lacks a right.
    """
    async with (
        archive.opened(source) as image,
        administrator(settings, actor=actor, hooks=hooks) as admin,
    ):
        await lawful.refuse_strange(admin.connection, image)
        tenant = image.portrait.tenant
        same = slug is None or slug == tenant.slug
        kept = domains is None and same
        wish = Wish(
            identifiers.slug(tenant.slug if slug is None else slug),
            admin.custom_domains(tenant.domains if kept else domains or ()),
            has_primary=tenant.has_primary if kept else True,
            state=settling.state_of(tenant),
            same=same,
        )
        detail: dict[str, object] = {
            "from": source.name,
            "slug": tenant.slug,
            "exported_at": image.whole.exported_at.isoformat(),
        }
        return await become(admin, Step.IMPORT, image, wish, reason=reason, detail=detail)


async def become(  # noqa: PLR0913 - what is to be done, then how, by name
    admin: Administrator,
    step: Step,
    image: Image,
    wish: Wish,
    *,
    reason: str | None = None,
    detail: dict[str, object] | None = None,
    data: bool = True,
    rights: bool = True,
    then: Callable[[SchemaRef], Awaitable[None]] | None = None,
    last: Callable[[], Awaitable[None]] | None = None,
) -> Imported:
    """Make a tenant of *image* as *step*, in one transaction.

    Args:
        admin: of the database that it comes to.
        step: in whose name.
        image: what it is made of.
        wish: what it becomes.
        reason: for the audit.
        detail: likewise.
        data: whether its rows come along.
        rights: whether the image's objects tell of the grants that it makes.
        then: as for `pouring.pour`.
        last: called when all is done and proved but the COMMIT.

    Raises:
        NotPortableError and others: as `import_`.
    """
    files = migrate.load(admin.settings)
    await migrate.refuse_unless_current(admin.connection, admin.settings, files)
    pending = settling.position(files.tenant, image.portrait.ledger).pending
    async with (
        settling.model(admin, image.portrait, files) as model,
        admin.step(step, wish.slug, reason=reason, detail=detail) as event,
    ):
        schema = await settling.made(admin, image.portrait.tenant, wish)

        async def between() -> None:
            if then is not None:
                await then(schema)

        rows = await pouring.pour(admin, image, schema, data=data, then=between)
        await settling.recorded(admin, schema, image.portrait)
        await settling.prove(admin, schema, image, model, rights=rights)
        event.profile = await admin.show(wish.slug)
        event.detail |= {"rows": rows}
        if last is not None:
            await last()
    return Imported(event.profile, len(image.portrait.tables), rows, len(pending))
