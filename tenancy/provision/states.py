"""Suspending a tenant, making it read-only, and letting it work again."""

from tenancy.errors import StateConflictError
from tenancy.provision.hooks import Step
from tenancy.provision.looking import Looking
from tenancy.provision.profiles import Profile
from tenancy.tenant import State

_SERVED = (State.ACTIVE, State.READ_ONLY, State.SUSPENDED)

# To which state each step leads, and from which; from there itself it changes nothing. A tenant
# that is being made or deleted is neither: `create` and `restore` are its ways out.
TRANSITIONS: dict[Step, tuple[State, tuple[State, ...]]] = {
    Step.SUSPEND: (State.SUSPENDED, _SERVED),
    Step.READ_ONLY: (State.READ_ONLY, _SERVED),
    Step.RESUME: (State.ACTIVE, _SERVED),
}

_CLOSED = "SELECT closed_at IS NOT NULL FROM tenancy.moves WHERE tenant_id = $1"


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
            UnknownTenantError, StateConflictError: as `suspend`; or it was moved away.
        """
        return await self._to(Step.READ_ONLY, slug, reason)

    async def resume(self, slug: str, *, reason: str | None = None) -> Profile:
        """Serve the tenant called *slug* again, reading and writing.

        Args:
            slug: the tenant's, suspended or read-only.
            reason: for the audit.

        Raises:
            UnknownTenantError, StateConflictError: as `suspend`; or it was moved away.
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
                )
            elif to is not State.SUSPENDED and await self._has_left(event.profile):
                raise StateConflictError(
                    f"tenant {slug!r} has been moved to another database, and what is here is "
                    "older: `tenants move --abandon` once it is there no more"
                )
            else:
                await self._conn.execute(
                    "UPDATE tenancy.tenants SET state = $2, updated_at = now() WHERE id = $1",
                    event.profile.tenant.id,
                    to,
                )
                event.profile = await self.held(slug)
        return event.profile

    async def _has_left(self, profile: Profile) -> bool:
        """Whether another database has the tenant: served here too, it would be two."""
        return bool(await self._conn.fetchval(_CLOSED, profile.tenant.id))
