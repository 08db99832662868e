"""A tenant's custom domains: adding, verifying, preferring, removing."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from tenancy.errors import DomainUnverifiedError, NameServerError
from tenancy.provision import challenges, claims, hostnames
from tenancy.provision.claims import Domain
from tenancy.provision.hooks import Event, Step
from tenancy.provision.looking import Looking
from tenancy.provision.profiles import Profile


class Domains(Looking):
    """Custom domains. One that is not verified is not served, and keeps nobody from having it.

    Names are taken in any case and in Unicode; see `hostnames.custom`.
    """

    async def domains(self, slug: str) -> tuple[Domain, ...]:
        """Return all domains of the tenant called *slug*, the primary one first.

        Raises:
            UnknownTenantError: there is none.
        """
        await self.show(slug)
        return await claims.every(self._conn, slug)

    async def add_domain(self, slug: str, name: str, *, verified: bool = False) -> Domain:
        """Add a domain to the tenant called *slug*; where it has it already, nothing changes.

        Args:
            slug: the tenant's.
            name: of the domain.
            verified: you vouch that it is the tenant's, and it is served at once; else it is as
                soon as `verify_domain` has found its challenge in DNS.

        Raises:
            UnknownTenantError: there is no such tenant.
            InvalidDomainError: the name cannot be a tenant's.
            DomainTakenError: it is verified as another tenant's.
        """
        name = hostnames.custom(name, self.settings)
        if not verified:
            challenges.check(name)
        async with self._step(Step.ADD_DOMAIN, slug, name, verified=verified) as (event, tenant):
            is_new = await claims.add(self._conn, tenant, name)
            if verified:
                is_new |= await claims.verify(self._conn, tenant, name, vouched=True)
            event.unchanged = not is_new
        return await claims.find(self._conn, slug, name)

    async def remove_domain(self, slug: str, name: str) -> Profile:
        """Take a domain from the tenant called *slug*; requests for it are refused (421).

        Of the others none becomes primary by that.

        Raises:
            UnknownTenantError: there is no such tenant.
            UnknownDomainError: it has no such domain.
        """
        name = hostnames.plain(name)
        async with self._step(Step.REMOVE_DOMAIN, slug, name) as (event, tenant):
            await claims.find(self._conn, slug, name)
            await claims.remove(self._conn, tenant, name)
        return _profile(event)

    async def make_primary(self, slug: str, name: str) -> Profile:
        """Let a domain be the one by which the tenant called *slug* is best reached.

        With ``TENANCY_REDIRECT_TO_PRIMARY`` its other hosts redirect there.

        Raises:
            UnknownTenantError, UnknownDomainError: as `remove_domain`.
            DomainUnverifiedError: it is not served yet.
        """
        name = hostnames.plain(name)
        async with self._step(Step.MAKE_PRIMARY, slug, name) as (event, tenant):
            domain = await claims.find(self._conn, slug, name)
            if domain.verified_at is None:
                raise DomainUnverifiedError(f"{name} is not served yet: verify it first")
            event.unchanged = domain.is_primary
            if not domain.is_primary:
                await claims.make_primary(self._conn, tenant, name)
        return _profile(event)

    async def verify_domain(self, slug: str, name: str) -> Profile:
        """Have a domain served whose TXT record holds its challenge.

        The record is ``_tenancy-challenge.<domain>``. Whoever verifies a domain first has it; it
        stays in others' lists, and cannot be verified there until this tenant has it no more.
        Nobody asks for the record again.

        Raises:
            UnknownTenantError, UnknownDomainError: as `remove_domain`.
            DomainUnverifiedError: the record is not there, or holds something else.
            DomainTakenError: another tenant was first.
            NameServerError: no name server says what the record is.
        """
        name = hostnames.plain(name)
        asked = await self._look_up(slug, name)
        async with self._step(Step.VERIFY_DOMAIN, slug, name) as (event, tenant):
            domain = await claims.find(self._conn, slug, name)
            event.unchanged = domain.verified_at is not None
            if domain.verified_at is None:
                await claims.refuse_taken(self._conn, tenant, name)
                _require(domain, asked)
                await claims.verify(self._conn, tenant, name)
        return _profile(event)

    @asynccontextmanager
    async def _step(
        self, step: Step, slug: str, name: str, **detail: object
    ) -> AsyncIterator[tuple[Event, UUID]]:
        """Take *step*, about the domain *name*, in the block; with the tenant's id."""
        async with self.step(step, slug, detail={"domain": name, **detail}) as event:
            event.profile = await self.held(slug)
            tenant = event.profile.tenant.id
            yield event, tenant
            if not event.unchanged:  # whoever compares it with what he knows must see a change
                await self._conn.execute(
                    "UPDATE tenancy.tenants SET updated_at = now() WHERE id = $1", tenant
                )
                event.profile = await self.show(slug)

    async def _look_up(self, slug: str, name: str) -> Sequence[str] | NameServerError:
        """Ask DNS before the transaction begins: a slow name server is to hold no lock."""
        known = {domain.name: domain for domain in await self.domains(slug)}
        if name not in known or known[name].verified_at is not None:
            return ()
        try:
            return await challenges.held(name, self.settings)
        except NameServerError as error:
            return error


def _require(domain: Domain, asked: Sequence[str] | NameServerError) -> None:
    """Raise unless what was *asked* of DNS shows whose *domain* is."""
    if isinstance(asked, NameServerError):
        raise asked
    if domain.challenge is None:
        raise DomainUnverifiedError(f"{domain.name} has no challenge yet: add it again")
    if domain.challenge not in asked:
        found = "something else" if asked else "nothing"
        raise DomainUnverifiedError(
            f"the TXT record {domain.record_name} must be {domain.challenge}, and name servers "
            f"have {found}: set it; a changed one is seen when the old one's TTL is over"
        )


def _profile(event: Event) -> Profile:
    assert event.profile is not None  # noqa: S101 - `_step` has set it
    return event.profile
