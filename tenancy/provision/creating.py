"""Making a tenant."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack

import asyncpg

from tenancy import identifiers, migrate
from tenancy.errors import (
    DomainTakenError,
    SchemaNameTakenError,
    SlugTakenError,
    UnknownTenantError,
)
from tenancy.identifiers import quoted
from tenancy.migrate import Files
from tenancy.provision import audit, hostnames, idempotency, profiles
from tenancy.provision.audit import Outcome
from tenancy.provision.hooks import Event, Step
from tenancy.provision.idempotency import Request
from tenancy.provision.profiles import Profile
from tenancy.provision.ready import Readying
from tenancy.tenant import State

_log = logging.getLogger(__name__)

_SCHEMA_NAME = "tenants_schema_name_key"


class Creating(Readying):
    """Registry row, domains, role, schema, grants and tables of a new tenant."""

    async def create(
        self, slug: str, domains: Sequence[str] = (), *, idempotency_key: str | None = None
    ) -> Profile:
        """Make a tenant: registry row, domains, role, schema, grants and all its tables.

        In one transaction: where anything fails, the database is as it was. The schema is one that
        was made ahead where there is one, see `refill`; else it is built, see `build`. Hooks after
        the creation find the schema on the path.

        Args:
            slug: the sub-domain; see `identifiers.slug`.
            domains: custom domains, the first one primary; you vouch that they are the tenant's.
            idempotency_key: sent again with the same request within 24 hours, the tenant that was
                made the first time is returned as it is now, and nothing is made; see
                `idempotency.Request`.

        Raises:
            InvalidSlugError, InvalidDomainError, InvalidIdempotencyKeyError: it cannot be used.
            SlugTakenError, DomainTakenError: another tenant has it.
            IdempotencyKeyUsedError: the key came with another request, or its tenant is no more.
            MigrationRefusedError: the catalog or the shared schema is behind its files.
            MigrationError: a file failed; names the file, the line and the SQLSTATE.
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        slug = identifiers.slug(slug)
        names = self.custom_domains(domains)
        request = None
        if idempotency_key is not None:
            request = Request(self.actor.name, idempotency_key, slug, names)
            if profile := await self._made_before(request):
                return profile
        files = self.files()
        if not files.tenant:
            _log.warning("the tenant has no tables: no file is in tenant/ of TENANCY_SQL_DIR")
        await migrate.refuse_unless_current(self._conn, self.settings, files)
        async with (
            self.tidy(),
            AsyncExitStack() as after,
            self.step(Step.CREATE, slug, detail={"domains": list(names)}) as event,
        ):
            if request is not None and not await request.claim(self._conn):
                event.profile = await self._outcome(request)
                event.unchanged = True
            else:
                event.profile = await self._create(event, names, files, after)
                if request is not None:
                    await request.keep(self._conn, event.profile.tenant.id)
        return event.profile

    async def register(self, slug: str, schema: str, domains: Sequence[str]) -> None:
        """Enter a tenant into the registry, in the caller's transaction.

        Args:
            slug: checked.
            schema: likewise.
            domains: of `custom_domains`.

        Raises:
            SlugTakenError, DomainTakenError, SchemaNameTakenError: another tenant has it.
        """
        try:
            tenant_id = await self._conn.fetchval(
                "INSERT INTO tenancy.tenants (slug, schema_name, state) VALUES ($1, $2, $3) "
                "RETURNING id",
                slug,
                schema,
                State.ACTIVE,  # seen by others at COMMIT, when it is true
            )
            if not domains:
                return
            await self._conn.executemany(
                "INSERT INTO tenancy.domains (name, tenant_id, is_primary, verified_at) "
                "VALUES ($1, $2, $3, now())",
                [(name, tenant_id, name == domains[0]) for name in domains],
            )
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == _SCHEMA_NAME:
                raise SchemaNameTakenError(
                    f"a tenant has the schema {schema} already, by chance: try again"
                ) from error
            if error.table_name == "domains":
                named = ", ".join(domains)
                raise DomainTakenError(
                    f"another tenant has the domain {named}: choose another"
                    if len(domains) == 1
                    else f"another tenant has one of the domains {named}: choose others"
                ) from error
            raise SlugTakenError(f"another tenant has the slug {slug!r}: choose another") from error

    async def forget_keys(self) -> int:
        """Delete the idempotency keys that have expired; return how many."""
        async with self._readable():
            return await idempotency.forget(self._conn)

    # The parts of `create`

    def custom_domains(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return *names* as they are kept, each once.

        Raises:
            InvalidDomainError: one cannot be a tenant's.
        """
        return tuple(dict.fromkeys(hostnames.custom(name, self.settings) for name in names))

    async def _create(
        self, event: Event, domains: Sequence[str], files: Files, after: AsyncExitStack
    ) -> Profile:
        schema = await self.claim_ready(files) if files.tenant else None
        event.detail["made_ahead"] = schema is not None
        if schema is not None:
            await self.register(event.slug, schema, domains)
        else:
            await self.rights.open_catalog()
            schema = await self.build(
                lambda: identifiers.schema_name(event.slug),
                files,
                lambda name: self.register(event.slug, name, domains),
                after,
            )
        await self._conn.execute(f"SET LOCAL search_path = {self._path(schema)}")
        event.detail["schema"] = schema
        return await profiles.find(self._conn, event.slug)

    def _path(self, schema: str) -> str:
        return f"{quoted(schema)}, {quoted(self.settings.shared_schema)}, pg_temp"

    async def _made_before(self, request: Request) -> Profile | None:
        """Return the tenant that *request* has made already, and let the audit know of it."""
        event = Event(Step.CREATE, request.slug, self.actor, None, detail={"unchanged": True})
        async with self.noting(event):
            slug = await request.outcome(self._conn)
            if slug is None:
                return None
            event.profile = await profiles.find(self._conn, slug)
            await audit.record(self._conn, event, Outcome.DONE)
        return event.profile

    async def _outcome(self, request: Request) -> Profile:
        """Return what the same request has just made, in another process."""
        slug = await request.outcome(self._conn)
        if slug is None:
            raise UnknownTenantError("the tenant that was made under this key has just gone")
        return await profiles.find(self._conn, slug)
