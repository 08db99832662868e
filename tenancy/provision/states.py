"""Suspending a tenant, making it read-only, and letting it work again."""

from tenancy.errors import StateConflictError
from tenancy.provision.hooks import Step
from tenancy.provision.looking import Looking
from tenancy.provision.profiles import Profile
from tenancy.tenant import State

# Of a tenant on its way to another database, or there: whether it is served here no more.
_MOVES = "SELECT closed_at IS NOT NULL AS closed FROM tenancy.moves WHERE tenant_id = $1"

_SERVED = (State.ACTIVE, State.READ_ONLY, State.SUSPENDED)

# To which state each step leads, and from which; from there itself it changes nothing. A tenant
# that is being made or deleted is neither: `create` and `restore` are its ways out.
TRANSITIONS: dict[Step, tuple[State, tuple[State, ...]]] = {
    Step.SUSPEND: (State.SUSPENDED, _SERVED),
    Step.READ_ONLY: (State.READ_ONLY, _SERVED),
    Step.RESUME: (State.ACTIVE, _SERVED),
}


class States(Looking):
    """A tenant's state; every process that serves it knows some milliseconds after the COMMIT."""

    async def suspend(self, slug: str, *, reason: str | None = None) -> Profile:
        """Refuse the requests of the tenant called *slug* (403) until `resume`; keep its data.

        Requests that are in their transaction already end as they began.

        Args:
            slug: the tenant's.
            reason: for the audit.

        Raises:
            UnknownTenantError: there is none.
            StateConflictError: it is being made or deleted.
        """
        return await self._to(Step.SUSPEND, slug, reason)

    async def make_read_only(self, slug: str, *, reason: str | None = None) -> Profile:
        """Let the server refuse every write of the tenant called *slug* (403) until `resume`.

        Args:
            slug: the tenant's; a suspended one is served again, and reads.
            reason: for the audit.

        Raises:
            UnknownTenantError: as `suspend`.
            StateConflictError: likewise, or it has moved to another database.
        """
        return await self._to(Step.READ_ONLY, slug, reason)

    async def resume(self, slug: str, *, reason: str | None = None) -> Profile:
        """Serve the tenant called *slug* again, reading and writing.

        Args:
            slug: the tenant's, suspended or read-only.
            reason: for the audit.

        Raises:
            UnknownTenantError: as `suspend`.
            StateConflictError: likewise, or it moves to another database, or has.
        """
        return await self._to(Step.RESUME, slug, reason)

    async def _to(self, step: Step, slug: str, reason: str | None) -> Profile:
        to, sources = TRANSITIONS[step]
        async with self.step(step, slug, reason=reason) as event:
            event.profile = await self.held(slug)
            state = event.profile.tenant.state
            event.detail["from"] = str(state)
            if state is to:
                event.unchanged = True
            elif state not in sources:
                raise StateConflictError(
                    f"tenant {slug!r} is {state}, and {step.replace('_', ' ')} is for those that "
                    f"are {', '.join(sources)}"
                    + (": `tenants restore` it first" if state is State.DELETING else "")
                )
            else:
                await self._refuse_moved(event.profile, to)
                await self._conn.execute(
                    "UPDATE tenancy.tenants SET state = $2, updated_at = now() WHERE id = $1",
                    event.profile.tenant.id,
                    to,
                )
                event.profile = await self.held(slug)
        return event.profile

    async def _refuse_moved(self, profile: Profile, to: State) -> None:
        """What is here may be old, or be about to be; only `move` knows."""
        if to is State.SUSPENDED:
            return
        closed = await self._conn.fetchval(_MOVES, profile.tenant.id)
        if closed or (closed is not None and to is State.ACTIVE):
            raise StateConflictError(
                f"tenant {profile.tenant.slug!r} moves to another database, or has: run `tenants "
                "move` again, or give that up with --abandon"
            )
