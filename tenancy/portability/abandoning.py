"""A move that was interrupted is given up."""

from tenancy.errors import MoveError
from tenancy.portability import moves
from tenancy.portability.pair import both, elsewhere, is_there
from tenancy.provision import Actor, Hooks, Profile, Step
from tenancy.settings import Settings


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
    async with both(settings, target, actor, hooks) as (here, there):
        place = await elsewhere(here, there)
        detail = {"target": place, "abandoned": True}
        async with here.step(Step.MOVE, slug, reason=reason, detail=detail) as event:
            profile = event.profile = await here.held(slug)
            journey = await moves.find(here.connection, profile.tenant.id)
            if journey is not None and journey.target != place:
                raise MoveError(f"{slug} is on its way to another database: name that one")
            if await is_there(there, profile.tenant.id):
                raise MoveError(f"{slug} has come to the other database: run the move again")
            event.profile = await moves.give_up(here, slug)
    return event.profile
