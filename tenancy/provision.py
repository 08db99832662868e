"""A tenant's life. Each step is one transaction: all of it happens, or nothing."""

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from tenancy import identifiers, migrate, walls
from tenancy.errors import (
    DatabaseSetupError,
    DomainTakenError,
    InvalidDomainError,
    SlugTakenError,
    UnknownTenantError,
)
from tenancy.fairness import limits
from tenancy.identifiers import quoted
from tenancy.migrate import Files
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.pool.connect import connect
from tenancy.rights import Rights
from tenancy.settings import Settings
from tenancy.tenant import State, Tenant

_log = logging.getLogger(__name__)

# Its name, and the server's birthday: alike only if both connections are in the same one.
_WHICH_DATABASE = "SELECT pg_catalog.concat(current_database(), ' ', pg_postmaster_start_time())"

_UNSAFE_ENUM_VALUE = "55P04"  # used in the transaction that has added it

_PROFILE = """
    SELECT t.id, t.slug, t.schema_name, t.state, t.created_at, t.updated_at, c.version,
           t.settings::text AS settings,
           coalesce(array_agg(d.name ORDER BY d.is_primary DESC, d.name)
                    FILTER (WHERE d.name IS NOT NULL), '{}') AS domains
    FROM tenancy.tenants t
    LEFT JOIN tenancy.domains d ON d.tenant_id = t.id
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema_name
    LEFT JOIN tenancy.checkpoints c ON c.schema_oid = n.oid AND c.schema_name = n.nspname
"""


@dataclass(frozen=True, slots=True)
class Profile:
    """What an operator sees of a tenant.

    Attributes:
        tenant: as requests see it.
        domains: custom domains, the primary one first.
        created_at, updated_at: with a time zone.
    """

    tenant: Tenant
    domains: tuple[str, ...]
    created_at: datetime
    updated_at: datetime

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return {
            "id": str(self.tenant.id),
            "slug": self.tenant.slug,
            "schema": self.tenant.schema,
            "state": str(self.tenant.state),
            "version": self.tenant.version,
            "domains": list(self.domains),
            limits.STATEMENT_TIMEOUT: self.tenant.limits.statement_timeout_seconds,
            limits.MAX_CONNECTIONS: self.tenant.limits.max_connections,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }


@asynccontextmanager
async def administrator(settings: Settings) -> AsyncIterator["Administrator"]:
    """Connect as the login that owns schemas and roles, and find out whom requests run as.

    Raises:
        DatabaseUnavailableError: the server does not answer.
        DatabaseSetupError: it refuses a login.
    """
    conn = await connect(settings, as_admin=True)
    try:
        login = await _login_of_requests(settings, await conn.fetchval(_WHICH_DATABASE))
        yield Administrator(conn, settings, login)
    finally:
        await conn.close()


async def _login_of_requests(settings: Settings, database: str) -> str:
    conn = await connect(settings, as_admin=False)
    try:
        if await conn.fetchval(_WHICH_DATABASE) != database:
            raise DatabaseSetupError(
                "TENANCY_DATABASE_URL and TENANCY_ADMIN_DATABASE_URL lead to different databases"
            )
        return str(await conn.fetchval("SELECT session_user::text"))
    finally:
        await conn.close()


class Administrator:
    """Operations on tenants, over one connection; not for two tasks at once.

    Attributes:
        rights: what requests are granted.
        settings: of the deployment.
    """

    def __init__(self, conn: asyncpg.Connection, settings: Settings, login: str) -> None:
        self.rights = Rights(conn, settings, login)
        self._conn = conn
        self.settings = settings
        self._login = login

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
        try:
            try:
                await self._create(slug, names, files)
            except MigrationFailedError as error:
                if error.failure.sqlstate != _UNSAFE_ENUM_VALUE:
                    raise
                await self._create_apart(slug, names, files)
        except asyncpg.InsufficientPrivilegeError as error:
            raise self.rights.lacking() from error
        return await self.show(slug)

    @property
    def connection(self) -> asyncpg.Connection:
        """The connection, whose login owns schemas and roles."""
        return self._conn

    async def show(self, slug: str) -> Profile:
        """Return the tenant called *slug*.

        Raises:
            UnknownTenantError: there is none.
        """
        rows = await self._profiles("WHERE t.slug = $1 GROUP BY t.id, c.version", slug)
        if not rows:
            raise UnknownTenantError(f"no tenant has the slug {slug!r}")
        return rows[0]

    async def list(self) -> tuple[Profile, ...]:
        """Return all tenants, by slug."""
        return await self._profiles("GROUP BY t.id, c.version ORDER BY t.slug")

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

    async def grant(self) -> int:
        """Give the login of requests what it needs for every tenant; return how many there are.

        For a database whose tenants were made under another isolation level or another login.

        Raises:
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        profiles = await self.list()
        try:
            await self.rights.open_catalog()
            for profile in profiles:
                async with self._conn.transaction():  # one each: locks of all would not fit
                    await self.rights.open_schema(profile.tenant.schema)
                    await self.rights.open_tables(profile.tenant.schema)
        except asyncpg.InsufficientPrivilegeError as error:
            raise self.rights.lacking() from error
        return len(profiles)

    async def walls(self) -> str:
        """Return the SQL that a superuser runs once for level ``strict``; see `walls.sql`."""
        row = await self._conn.fetchrow("SELECT current_database()::text, session_user::text")
        return walls.sql(row[0], owner=row[1], login=self._login)

    async def limit(self, slug: str, changes: Mapping[str, float | None]) -> Profile:
        """Set what the tenant called *slug* may use; processes learn of it as of any change.

        Args:
            slug: the tenant's.
            changes: new values by their names in `fairness.limits`; None: the settings' own again.
                What is not named stays as it is.

        Raises:
            UnknownTenantError: there is none.
            InvalidLimitError: the value makes no sense, or is over what the settings allow to all.
        """
        for name, value in changes.items():
            limits.check(name, value, self.settings.statement_timeout_seconds)
        given = {name: value for name, value in changes.items() if value is not None}
        try:
            await self._conn.execute(
                "UPDATE tenancy.tenants SET settings = (settings - $2::text[]) || $3::jsonb, "
                "updated_at = now() WHERE slug = $1",
                slug,
                list(changes),
                json.dumps(given),
            )
        except asyncpg.InsufficientPrivilegeError as error:
            raise self.rights.lacking() from error
        return await self.show(slug)

    async def _profiles(self, rest: str, *args: object) -> tuple[Profile, ...]:
        try:
            rows = await self._conn.fetch(_PROFILE + rest, *args)
        except asyncpg.UndefinedTableError as error:
            raise DatabaseSetupError(
                "there is no registry yet: run `python -m tenancy.migrate`"
            ) from error
        except asyncpg.InsufficientPrivilegeError as error:
            raise self.rights.lacking() from error
        return tuple(map(_profile, rows))

    # The parts of `create`

    def custom_domains(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return *names* as they are kept, each once.

        Raises:
            InvalidDomainError: one cannot be a tenant's.
        """
        return tuple(dict.fromkeys(map(self._custom_domain, names)))

    async def _create(self, slug: str, domains: Sequence[str], files: Files) -> None:
        async with self._conn.transaction():
            await self.rights.open_catalog()
            schema = identifiers.schema_name(slug)
            await self.register(slug, schema, domains)
            await self.make_schema(schema)
            await migrate.apply_all(self._conn, self.settings, schema, files.tenant)

    async def _create_apart(self, slug: str, domains: Sequence[str], files: Files) -> None:
        name = identifiers.schema_name(slug)
        async with (
            migrate.built(self.settings, name, files.tenant) as schema,
            self._conn.transaction(),
        ):
            await self.register(slug, name, domains)
            await self.rights.open_schema(name)
            await self.rights.open_tables(name)
            await migrate.keep(self._conn, schema)

    def _custom_domain(self, text: str) -> str:
        name = identifiers.domain(text)
        for base in self.settings.base_domains:
            if name == base or name.endswith(f".{base}"):
                raise InvalidDomainError(
                    f"{name!r} is at or below the base domain {base}, where slugs decide"
                )
        return name


def _profile(row: asyncpg.Record) -> Profile:
    tenant = Tenant(
        row["id"],
        row["slug"],
        row["schema_name"],
        State(row["state"]),
        row["version"],
        limits=limits.read(row["settings"], row["slug"]),
    )
    return Profile(tenant, tuple(row["domains"]), row["created_at"], row["updated_at"])
