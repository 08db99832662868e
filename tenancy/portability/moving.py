"""A tenant moves to another database: what is written here is there, or it has not moved.

The order makes it safe to be ended at any point. The copy is made there in one transaction, while
locks keep everybody from writing here. Then, before that transaction is committed, the tenant is
closed here for good. So a tenant that is there is there with all that was ever written, and one
that is not there can be opened here again, or copied once more.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tenancy import migrate
from tenancy.errors import (
    DatabaseSetupError,
    DatabaseUnavailableError,
    DomainTakenError,
    MoveError,
    SlugTakenError,
)
from tenancy.migrate.shape.libpq import Section
from tenancy.migrate.upgrade.session import is_lost
from tenancy.portability import grants, moves, settling
from tenancy.portability.importing import Imported, become
from tenancy.portability.lasting import begun
from tenancy.portability.living import Living, living
from tenancy.portability.manifest import Portrait
from tenancy.portability.moves import Journey
from tenancy.portability.settling import Wish
from tenancy.provision import (
    Actor,
    Administrator,
    Event,
    Hooks,
    Moment,
    Profile,
    Step,
    administrator,
)
from tenancy.settings import Settings

_log = logging.getLogger(__name__)


async def move(  # noqa: PLR0913 - what, and on whose behalf, by name
    settings: Settings,
    slug: str,
    target: Settings,
    *,
    reason: str | None = None,
    actor: Actor | None = None,
    hooks: Hooks | None = None,
) -> Imported:
    """Move the tenant called *slug* to the database of *target*, where it is the same tenant.

    It can be read but not written meanwhile, and is served there from the end on. Here it stays,
    suspended, until it is deleted. Where that fails it is here what it was before. Where the
    process is killed, or the connection lost in the wrong moment, run it again: it goes on.

    Args:
        settings: of the deployment that it leaves.
        slug: the tenant's, in both.
        target: of the deployment that it comes to.
        reason: for the audit of both.
        actor: on whose behalf; by default the account that this process runs as.
        hooks: of the deployment; called with ``Step.MOVE`` here and ``Step.IMPORT`` there.

    Raises:
        UnknownTenantError: there is none here.
        SlugTakenError, DomainTakenError: another tenant has it there.
        MoveError: it is the same database, the tenant's state does not allow it, somebody has
            changed that meanwhile, or what became of it is not known: says what to do.
        LockHeldError: its schema is being migrated.
        MigrationRefusedError, NotPortableError: as `import_`.
        DatabaseSetupError, DatabaseUnavailableError: as `provision.administrator`; says of which.
    """
    async with _both(settings, target, actor, hooks) as (here, there):
        place = await _elsewhere(here, there)
        detail = {"target": place}
        async with begun(
            *(here, Step.MOVE, slug), reason=reason, detail=detail, after=False
        ) as event:
            profile = await here.show(slug)
            found = await _arrived(here, there, profile, place)
            if found is None:
                await _refuse_unwelcome(here, there, profile)
                found = await _copied(here, there, event, place)
            await moves.finish(here.connection, profile.tenant.id)
            event.profile = await here.show(slug)
            event.detail["rows"] = found.rows
    return found


async def abandon(  # noqa: PLR0913 - as `move`
    settings: Settings,
    slug: str,
    target: Settings,
    *,
    reason: str | None = None,
    actor: Actor | None = None,
    hooks: Hooks | None = None,
) -> Profile:
    """Let the tenant called *slug* be what it was before a move that was interrupted.

    Raises:
        MoveError: it is not on its way, or has come there.
        UnknownTenantError and others: as `move`.
    """
    async with _both(settings, target, actor, hooks) as (here, there):
        place = await _elsewhere(here, there)
        detail = {"target": place, "abandoned": True}
        async with here.step(Step.MOVE, slug, reason=reason, detail=detail) as event:
            profile = event.profile = await here.held(slug)
            journey = await moves.find(here.connection, profile.tenant.id)
            if journey is not None and journey.target != place:
                raise MoveError(f"{slug} is on its way to another database: name that one")
            if await _is_there(there, profile):
                raise MoveError(f"{slug} has come to the other database: run the move again")
            event.profile = await moves.give_up(here, slug)
    return event.profile


@asynccontextmanager
async def _both(
    settings: Settings, target: Settings, actor: Actor | None, hooks: Hooks | None
) -> AsyncIterator[tuple[Administrator, Administrator]]:
    async with administrator(settings, actor=actor, hooks=hooks) as here:
        other = administrator(target, actor=actor, hooks=hooks)
        try:
            there = await other.__aenter__()
        except (DatabaseSetupError, DatabaseUnavailableError) as error:
            raise type(error)(f"of the database that the tenant is to come to: {error}") from error
        try:
            yield here, there
        finally:
            await other.__aexit__(None, None, None)


async def _elsewhere(here: Administrator, there: Administrator) -> str:
    place = await moves.place(there.connection)
    if place == await moves.place(here.connection):
        raise MoveError("the tenant is in that database already: to copy it, see `tenants clone`")
    return place


async def _is_there(there: Administrator, profile: Profile) -> bool:
    return bool(
        await there.connection.fetchval(
            "SELECT true FROM tenancy.tenants WHERE id = $1", profile.tenant.id
        )
    )


async def _arrived(
    here: Administrator, there: Administrator, profile: Profile, place: str
) -> Imported | None:
    """Return the tenant as it is there, if it has come there by this move."""
    journey = await moves.find(here.connection, profile.tenant.id)
    if journey is None or not journey.closed or journey.target != place:
        return None
    if not await _is_there(there, profile):
        return None
    slug = await there.connection.fetchval(
        "SELECT slug FROM tenancy.tenants WHERE id = $1", profile.tenant.id
    )
    return Imported(await there.show(slug), 0, 0, 0)


async def _refuse_unwelcome(here: Administrator, there: Administrator, profile: Profile) -> None:
    """Pass if nothing there speaks against the tenant, before anybody notices anything here."""
    files = migrate.load(there.settings)
    await migrate.refuse_unless_current(there.connection, there.settings, files)
    async with living(here, profile) as image:
        portrait = image.portrait
    settling.position(files.tenant, portrait.ledger)
    there.custom_domains(portrait.tenant.domains)
    conn = there.connection
    if await conn.fetchval(
        "SELECT true FROM tenancy.tenants WHERE slug = $1 OR id = $2",
        *(portrait.tenant.slug, portrait.tenant.id),
    ):
        raise SlugTakenError(
            f"the other database has a tenant with the slug {portrait.tenant.slug!r}, or this one: "
            "rename one of them, or purge what is left there"
        )
    if taken := await conn.fetchval(
        "SELECT min(name) FROM tenancy.domains WHERE name = ANY ($1) AND verified_at IS NOT NULL",
        list(portrait.tenant.domains),
    ):
        raise DomainTakenError(f"another tenant has the domain {taken} there")


class _Stage:
    """How far this run of a move has come.

    Attributes:
        journey: the tenant can be read alone here.
        closed: it cannot even be read here.
        arrived: it is there.
    """

    journey: Journey | None = None
    closed: bool = False
    arrived: bool = False

    def may_undo(self, error: BaseException) -> bool:
        """Whether *error* says for certain that nothing has come there."""
        certain = isinstance(error, Exception) and not is_lost(error)
        return not self.closed or (certain and not self.arrived)


async def _copied(here: Administrator, there: Administrator, event: Event, place: str) -> Imported:
    profile = await here.show(event.slug)
    stage = _Stage()

    async def opening() -> None:
        stage.journey = await moves.begin(here, profile, place)

    try:
        async with living(here, profile, still=opening) as image:
            return await _poured(here, there, event, image, stage)
    except BaseException as error:
        if stage.may_undo(error):
            if stage.journey is not None:
                await asyncio.shield(asyncio.create_task(_undone(here, event.slug)))
            raise
        raise MoveError(
            f"it is not known whether {event.slug} has come to the other database; until that is "
            "clear it is not served here: run the move again"
        ) from error


async def _poured(
    here: Administrator, there: Administrator, event: Event, image: Living, stage: _Stage
) -> Imported:
    journey = stage.journey
    if journey is None:
        raise MoveError(f"the move of {event.slug} has not begun")
    statements = [one for part in Section for one in await image.structure(part)]
    rights = [one for one in statements if grants.is_of_rights(one)]

    async def close() -> None:
        async with here.connection.transaction():
            event.profile = await moves.close(here, event.slug, image.schema, journey, rights)
            await here.hooks.run(Moment.AFTER, event)
        stage.closed = True

    made = await become(
        *(there, Step.IMPORT, image, _wish(image.portrait, journey)),
        reason=event.reason,
        detail={"moved": True},
        last=close,
    )
    stage.arrived = True
    return made


def _wish(portrait: Portrait, journey: Journey) -> Wish:
    tenant = portrait.tenant
    return Wish(
        tenant.slug,
        tenant.domains,
        has_primary=tenant.has_primary,
        state=journey.state_before,
        same=True,
    )


async def _undone(here: Administrator, slug: str) -> None:
    """Let the tenant be what it was, on a connection of its own: the other may be in any state."""
    try:
        async with (
            administrator(here.settings, actor=here.actor, hooks=here.hooks) as admin,
            admin.connection.transaction(),
        ):
            await moves.give_up(admin, slug)
    except Exception as error:  # noqa: BLE001 - what ended the move matters more
        _log.error(
            "%s is left as it is during a move (%s): run the move again, or give it up with "
            "--abandon",
            *(slug, type(error).__name__),
        )
