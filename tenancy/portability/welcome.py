"""Whether a database can take in a tenant that is to move there."""

from tenancy import migrate
from tenancy.errors import DomainTakenError, SlugTakenError
from tenancy.portability import settling
from tenancy.portability.manifest import Portrait
from tenancy.provision import Administrator


async def refuse_unwelcome(there: Administrator, portrait: Portrait) -> None:
    """Pass if nothing there speaks against the tenant of *portrait*; changes nothing.

    Raises:
        MigrationRefusedError: the files there are not its own, or that database is behind them.
        SlugTakenError, DomainTakenError, InvalidDomainError: a name of its own cannot be its there.
    """
    files = migrate.load(there.settings)
    await migrate.refuse_unless_current(there.connection, there.settings, files)
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
