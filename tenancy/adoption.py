"""A tenant out of what was there before: a schema of this database, or another database's."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from tenancy import identifiers, migrate, provision
from tenancy.errors import InvalidIdentifierError, MigrationRefusedError
from tenancy.identifiers import quoted
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.origin import adoption, bookkeeping, inherited, moving
from tenancy.migrate.origin.inherited import Inherited
from tenancy.migrate.origin.source import Source, reading
from tenancy.migrate.upgrade import fresh, lock
from tenancy.migrate.upgrade.scratch import replayed, scratch
from tenancy.migrate.upgrade.session import Session
from tenancy.provision import Administrator, Profile, Step
from tenancy.settings import Settings

_OURS = re.compile(r"t_[a-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    Attributes:
        slug: the tenant's.
        at: version of the files that the schema stands at.
        domains: as for `provision.Administrator.create`.
        without: tables that are no part of it.
        unproven: believe *at* without a look.
    """

    slug: str
    at: str
    domains: Sequence[str] = ()
    without: frozenset[str] = frozenset()
    unproven: bool = False


@dataclass(frozen=True, slots=True)
class Adopted:
    """What has become a tenant.

    Attributes:
        left: tables that are no part of it, and still in its schema.
    """

    profile: Profile
    left: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """What is to be done about what is *left*; empty: nothing is."""
        return bookkeeping.advice(self.profile.tenant.schema, self.left) if self.left else ""


async def adopt(settings: Settings, schema: str, wish: Wish) -> Adopted:
    """Make *schema*, which is in this database, a tenant's; all of it, or nothing.

    It is renamed as a new tenant's would be, unless it begins with ``t_`` already. Rights that
    PUBLIC had in it are taken away.

    Raises:
        MigrationRefusedError: it cannot be a tenant's, is not what the files make, or is somebody
            else's; says what to do.
        InvalidSlugError, SlugTakenError, InvalidDomainError, DomainTakenError: as for a new one.
        UnknownVersionError: no file has that version.
        LockHeldError: somebody migrates it.
        MigrationError, DatabaseSetupError: a file fails; the login lacks a right.
    """
    async with _ready(settings, wish) as (admin, migrations):
        conn = admin.connection
        found = await inherited.find(conn, schema, settings.shared_schema)
        if wish.unproven:
            passed = wish.without | bookkeeping.unwritten(migrations)
            left = await bookkeeping.tables(conn, found.schema, passed)
            return Adopted(await _taken(admin, found, wish, migrations), tuple(left))
        async with replayed(settings, migrations) as (_, made):
            passed = wish.without | await bookkeeping.passed_over(conn, made)
            left = await bookkeeping.tables(conn, found.schema, passed)
            return Adopted(await _taken(admin, found, wish, migrations, made), tuple(left))


async def move(settings: Settings, dsn: str, where: str, schema: str, wish: Wish) -> Adopted:
    """Make a tenant with the rows of *schema* in another database, which is only read.

    Its structure comes from the files, and must be that of the source. One transaction: where it
    ends early nothing is left, and it can be run again.

    Args:
        settings: of the database that the tenant comes to.
        dsn: the source's address.
        where: what an error calls it: the variable or file that it came from.
        schema: in the source.
        wish: what it becomes.

    Raises:
        MigrationRefusedError: the source's structure is another, or a row has no place; says which.
        InvalidSlugError, SlugTakenError, InvalidDomainError, DomainTakenError: as for a new one.
        MigrationError, DatabaseSetupError, DatabaseUnavailableError: as for a new one.
    """
    async with (
        _ready(settings, wish) as (admin, migrations),
        reading(dsn, where, schema) as source,
        replayed(settings, migrations) as (session, made),
    ):
        if not wish.unproven:
            await _prove_source(session, source, made, wish.without)
        return Adopted(await _moved(admin, source, wish, migrations, made))


@asynccontextmanager
async def _ready(
    settings: Settings, wish: Wish
) -> AsyncIterator[tuple[Administrator, tuple[Migration, ...]]]:
    """Yield who makes tenants, and the files that the new one has already."""
    identifiers.slug(wish.slug)
    files = migrate.load(settings)
    migrations = files.until(wish.at).tenant
    async with provision.administrator(settings) as admin:
        await migrate.refuse_unless_current(admin.connection, settings, files)
        admin.custom_domains(wish.domains)
        try:
            yield admin, migrations
        except asyncpg.InsufficientPrivilegeError as error:
            raise admin.rights.lacking() from error


async def _taken(
    admin: Administrator,
    found: Inherited,
    wish: Wish,
    migrations: tuple[Migration, ...],
    made: SchemaRef | None = None,
) -> Profile:
    conn = admin.connection
    async with admin.step(Step.ADOPT, wish.slug, detail={"schema": found.schema.name}) as event:
        await lock.claim(conn, found.schema.oid)
        await admin.rights.open_catalog()
        await inherited.take(conn, found)
        if made is not None:
            await adoption.prove(conn, made, found.schema, wish.without)
        name = await _renamed(conn, found, wish.slug)
        await inherited.close(conn, name)
        await admin.register(wish.slug, name, admin.custom_domains(wish.domains))
        await admin.rights.open_schema(name)
        await admin.rights.open_tables(name)
        await adoption.begin_ledger(conn, SchemaRef(found.schema.oid, name), migrations)
        event.profile = await admin.show(wish.slug)
    return event.profile


async def _renamed(conn: asyncpg.Connection, found: Inherited, slug: str) -> str:
    """Give the schema a name of ours, unless it has one; return it."""
    name = found.schema.name
    if _OURS.fullmatch(name):
        try:
            identifiers.identifier(name)
        except InvalidIdentifierError as error:
            raise MigrationRefusedError(str(error)) from error
        if await conn.fetchval("SELECT true FROM pg_catalog.pg_roles WHERE rolname = $1", name):
            raise MigrationRefusedError(
                f"there is a role {name!r} already, and the tenant's would be called so: rename "
                "the schema"
            )
        return name
    await inherited.refuse_named(conn, found)
    name = identifiers.schema_name(slug)
    await conn.execute(f"ALTER SCHEMA {found.quoted} RENAME TO {quoted(name)}")
    return name


async def _prove_source(
    session: Session, source: Source, made: SchemaRef, without: frozenset[str]
) -> None:
    """Pass if the source's structure, made once more here, is that of *made*."""
    shared = session.settings.shared_schema
    statements = await source.definitions(shared)
    async with scratch(session) as copy:
        conn = await session.connection()
        try:
            async with conn.transaction():
                await fresh.enter(conn, copy, shared=shared)
                for statement in statements:
                    await conn.execute(statement)
        except asyncpg.PostgresError as error:
            raise MigrationRefusedError(
                "the other database's structure cannot be made here, so that it cannot be compared "
                f"with the files': {error.args[0]}; trust it with --unproven"
            ) from error
        await session.forget()
        await adoption.prove(conn, made, copy, without)


async def _moved(
    admin: Administrator,
    source: Source,
    wish: Wish,
    migrations: tuple[Migration, ...],
    made: SchemaRef,
) -> Profile:
    conn, settings = admin.connection, admin.settings
    parts = await moving.definitions(settings, made, conn.get_server_version().major)
    async with admin.step(Step.ADOPT, wish.slug) as event:
        await admin.rights.open_catalog()
        name = identifiers.schema_name(wish.slug)
        await admin.register(wish.slug, name, admin.custom_domains(wish.domains))
        await admin.make_schema(name)
        oid = await conn.fetchval(
            "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1", name
        )
        schema = SchemaRef(oid, name)
        await moving.pour(
            *(conn, schema, source, parts),
            shared=settings.shared_schema,
            without=wish.without,
            last=migrations[-1],
        )
        await adoption.begin_ledger(conn, schema, migrations)
        event.profile = await admin.show(wish.slug)
    return event.profile
