"""A tenant moves to another database: what is written here is there, or it has not moved.

The order makes it safe to be ended at any point. The copy is made there in one transaction, while
nobody may write here. Then, before that transaction is committed, the tenant is
closed here for good. So a tenant that is there is there with all that was ever written, and one
that is not there can be opened here again, or copied once more.
"""

import asyncio
import logging
from dataclasses import replace

from tenancy.errors import MoveError
from tenancy.migrate.upgrade.session import is_lost
from tenancy.portability import moves, quiet
from tenancy.portability.importing import Imported, become
from tenancy.portability.living import Living, seen
from tenancy.portability.manifest import Portrait
from tenancy.portability.moves import Journey
from tenancy.portability.pair import both, elsewhere, is_there
from tenancy.portability.session import locked
from tenancy.portability.settling import Wish
from tenancy.portability.welcome import refuse_unwelcome
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
from tenancy.provision.lasting import begun
from tenancy.settings import Settings

_log = logging.getLogger(__name__)

_SLUG = "SELECT slug FROM tenancy.tenants WHERE id = $1"


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
    async with both(settings, target, actor, hooks) as (here, there):
        place = await elsewhere(here, there)
        detail = {"target": place}
        async with begun(
            *(here, Step.MOVE, slug), reason=reason, detail=detail, after=False
        ) as event:
            profile = await here.show(slug)
            found = await _arrived(here, there, profile, place)
            if found is None:
                found = await _copied(here, there, event, place)
            async with here.connection.transaction():
                await moves.finish(here, profile)
            event.profile = await here.show(slug)
            event.detail["rows"] = found.rows
    return found


async def _arrived(
    here: Administrator, there: Administrator, profile: Profile, place: str
) -> Imported | None:
    """Return the tenant as it is there, if it has come there by this move."""
    journey = await moves.find(here.connection, profile.tenant.id)
    if journey is None or not journey.closed or journey.target != place:
        return None
    if not await is_there(there, profile.tenant.id):
        return None
    slug = await there.connection.fetchval(_SLUG, profile.tenant.id)
    return Imported(await there.show(slug), 0, 0, 0)


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

    @property
    def begun(self) -> Journey:
        """The journey.

        Raises:
            MoveError: it has not begun.
        """
        if self.journey is None:
            raise MoveError("the move has not begun")
        return self.journey

    def may_undo(self, error: BaseException) -> bool:
        """Whether *error* says for certain that nothing has come there."""
        certain = isinstance(error, Exception) and not is_lost(error)
        return not self.closed or (certain and not self.arrived)


async def _copied(here: Administrator, there: Administrator, event: Event, place: str) -> Imported:
    profile = await here.show(event.slug)
    stage = _Stage()
    try:
        async with locked(here, profile) as (conn, schema):
            async with seen(here, profile, conn, schema) as look:
                await refuse_unwelcome(there, look.portrait)
                rights, shape = await look.rights(), look.portrait.fingerprint
            stage.journey = await moves.begin(
                here, profile, place, rights=rights, fingerprint=shape
            )
            silent = await quiet.silenced(here, schema)
            locks = [] if silent else await quiet.locks(conn, schema)
            async with seen(here, profile, conn, schema, locks) as image:
                return await _poured(
                    here, there, event, _as_before(image, stage.begun), stage, silent=silent
                )
    except BaseException as error:
        if stage.may_undo(error):
            if stage.journey is not None:
                await asyncio.shield(asyncio.create_task(_undone(here, stage.journey)))
            raise
        raise MoveError(
            f"it is not known whether {event.slug} has come to the other database; until that is "
            "clear it is not served here: run the move again"
        ) from error


async def _poured(  # noqa: PLR0913 - the parts of one whole
    here: Administrator,
    there: Administrator,
    event: Event,
    image: Living,
    stage: _Stage,
    *,
    silent: bool,
) -> Imported:
    journey = stage.begun

    async def close() -> None:
        async with here.connection.transaction():
            profile = event.profile = await moves.close(here, event.slug, image.schema, journey)
            was = image.portrait.tenant
            if (profile.domains, profile.former_slugs) != (was.domains, was.former_slugs):
                raise MoveError(
                    f"the domains or slugs of {event.slug} were changed during the move: nothing "
                    "was moved; run it again"
                )
            if silent and await quiet.writable(here, image.schema):
                raise MoveError(
                    f"requests of {event.slug} were given the right to write during the move, as "
                    "by `tenants grant`: nothing was moved"
                )
            await here.hooks.run(Moment.AFTER, event)
        stage.closed = True

    made = await become(
        *(there, Step.IMPORT, image, _wish(image.portrait, journey)),
        reason=event.reason,
        detail={"moved": True},
        rights=False,  # some are taken while it moves
        last=close,
    )
    stage.arrived = True
    return made


def _as_before(image: Living, journey: Journey) -> Living:
    """Return *image* with the rights that were there before the move took some."""
    portrait = image.portrait.model_copy(update={"fingerprint": journey.fingerprint})
    return replace(image, portrait=portrait, given=list(journey.rights))


def _wish(portrait: Portrait, journey: Journey) -> Wish:
    tenant = portrait.tenant
    return Wish(
        tenant.slug,
        tenant.domains,
        has_primary=tenant.has_primary,
        state=journey.state_before,
        same=True,
    )


async def _undone(here: Administrator, journey: Journey) -> None:
    """Let the tenant be what it was, on a connection of its own: the other may be in any state."""
    try:
        async with (
            administrator(here.settings, actor=here.actor, hooks=here.hooks) as admin,
            admin.connection.transaction(),
        ):
            slug = await admin.connection.fetchval(_SLUG, journey.tenant_id)  # it may be renamed
            await moves.give_up(admin, slug)
    except Exception as error:  # noqa: BLE001 - what ended the move matters more
        _log.error(
            "tenant %s is left as it is during a move (%s): run the move again, or give it up with "
            "--abandon",
            *(journey.tenant_id, type(error).__name__),
        )
