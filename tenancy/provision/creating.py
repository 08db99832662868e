"""Making a tenant."""

import logging
from collections.abc import Sequence

import asyncpg

from tenancy import identifiers, migrate
from tenancy.errors import DomainTakenError, SlugTakenError
from tenancy.identifiers import quoted
from tenancy.migrate import Files
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.provision import hostnames, profiles
from tenancy.provision.hooks import Step
from tenancy.provision.looking import Looking
from tenancy.provision.profiles import Profile
from tenancy.tenant import State

_log = logging.getLogger(__name__)

_UNSAFE_ENUM_VALUE = "55P04"  # used in the transaction that has added it


class Creating(Looking):
    """Registry row, domains, role, schema, grants and tables of a new tenant."""

    async def create(self, slug: str, domains: Sequence[str] = ()) -> Profile:
        """Make a tenant: registry row, domains, role, schema, grants and all its tables.

        In one transaction: where anything fails, the database is as it was. Before PostgreSQL 17
        files that use a value which one of them adds to an enum cannot be in one transaction; then
        the schema is built first, and becomes a tenant's in one.

        Args:
            slug: the sub-domain; see `identifiers.slug`.
            domains: custom domains, the first one primary; you vouch that they are the tenant's.

        Raises:
            InvalidSlugError, InvalidDomainError: the name cannot be used.
            SlugTakenError, DomainTakenError: another tenant has it.
            MigrationRefusedError: the catalog or the shared schema is behind its files.
            MigrationError: a file failed; names the file, the line and the SQLSTATE.
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        slug = identifiers.slug(slug)
        names = self.custom_domains(domains)
        files = migrate.load(self.settings)
        if not files.tenant:
            _log.warning("the tenant has no tables: no file is in tenant/ of TENANCY_SQL_DIR")
        await migrate.refuse_unless_current(self._conn, self.settings, files)
        async with self.step(Step.CREATE, slug, detail={"domains": list(names)}) as event:
            await self.rights.open_catalog()
            try:
                async with self._conn.transaction():
                    await self._create(slug, names, files)
            except MigrationFailedError as error:
                if error.failure.sqlstate != _UNSAFE_ENUM_VALUE:
                    raise
                await self._create_apart(slug, names, files)
            event.profile = await profiles.find(self._conn, slug)
        return event.profile

    async def register(self, slug: str, schema: str, domains: Sequence[str]) -> None:
        """Enter a tenant into the registry, in the caller's transaction.

        Args:
            slug: checked.
            schema: likewise.
            domains: of `custom_domains`.

        Raises:
            SlugTakenError, DomainTakenError: another tenant has it.
        """
        try:
            tenant_id = await self._conn.fetchval(
                "INSERT INTO tenancy.tenants (slug, schema_name, state) VALUES ($1, $2, $3) "
                "RETURNING id",
                slug,
                schema,
                State.ACTIVE,  # seen by others at COMMIT, when it is true
            )
            await self._conn.executemany(
                "INSERT INTO tenancy.domains (name, tenant_id, is_primary, verified_at) "
                "VALUES ($1, $2, $3, now())",
                [(name, tenant_id, name == domains[0]) for name in domains],
            )
        except asyncpg.UniqueViolationError as error:
            if error.table_name == "domains":
                named = ", ".join(domains)
                raise DomainTakenError(
                    f"another tenant has the domain {named}: choose another"
                    if len(domains) == 1
                    else f"another tenant has one of the domains {named}: choose others"
                ) from error
            raise SlugTakenError(f"another tenant has the slug {slug!r}: choose another") from error

    async def make_schema(self, schema: str) -> None:
        """Make *schema* with its role and its grants, in the caller's transaction."""
        await self._conn.execute(f"CREATE SCHEMA {quoted(schema)}")
        await self.rights.open_schema(schema)

    # The parts of `create`

    def custom_domains(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return *names* as they are kept, each once.

        Raises:
            InvalidDomainError: one cannot be a tenant's.
        """
        return tuple(dict.fromkeys(hostnames.custom(name, self.settings) for name in names))

    async def _create(self, slug: str, domains: Sequence[str], files: Files) -> None:
        schema = identifiers.schema_name(slug)
        await self.register(slug, schema, domains)
        await self.make_schema(schema)
        await migrate.apply_all(self._conn, self.settings, schema, files.tenant)

    async def _create_apart(self, slug: str, domains: Sequence[str], files: Files) -> None:
        name = identifiers.schema_name(slug)
        async with migrate.built(self.settings, name, files.tenant) as schema:
            await self.register(slug, name, domains)
            await self.rights.open_schema(name)
            await self.rights.open_tables(name)
            await migrate.keep(self._conn, schema)
