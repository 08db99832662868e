"""A tenant is made whole or not at all."""

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest
from support.databases import SQL, Database, Logins

from tenancy import Tenancy, migrate, provision
from tenancy.errors import (
    DatabaseSetupError,
    DomainTakenError,
    InvalidDomainError,
    InvalidSlugError,
    MigrationError,
    MigrationRefusedError,
    SlugTakenError,
    UnknownTenantError,
)


async def _everything(database: Database) -> set[tuple[str, ...]]:
    """Tenants, domains, schemas and the tenants' roles, as they are now."""
    conn = await asyncpg.connect(database.superuser_url)
    try:
        rows = await conn.fetch(
            "SELECT 'tenant', slug FROM tenancy.tenants "
            "UNION SELECT 'domain', name FROM tenancy.domains "
            "UNION SELECT 'schema', nspname FROM pg_namespace WHERE nspname LIKE 't\\_%' "
            "UNION SELECT 'ledger', schema_name FROM tenancy.migrations "
            "UNION SELECT 'role', rolname FROM pg_roles WHERE rolname LIKE 't\\_%'"
        )
        return {tuple(row) for row in rows}
    finally:
        await conn.close()


def _copy_sql(to: Path) -> None:
    for stage in ("shared", "tenant"):
        shutil.copytree(SQL / stage, to / stage)


async def test_a_tenant_is_made_with_all_that_it_needs(database: Database) -> None:
    settings = database.settings()
    async with provision.administrator(settings) as admin:
        profile = await admin.create("initech", ["Notes.Initech.Example", "www.initech.example"])
        assert profile == await admin.show("initech")
    assert profile.domains == ("notes.initech.example", "www.initech.example")
    assert profile.tenant.version == "0001"
    async with Tenancy(settings=settings) as tenancy:
        async with tenancy.transaction("initech") as conn:
            assert await conn.fetchval("INSERT INTO notes (body) VALUES ('x') RETURNING id") == 1
            assert await conn.fetchval("SELECT current_user") == profile.tenant.schema


async def test_a_taken_slug_or_domain_is_a_conflict_and_leaves_nothing(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        await admin.create("initech", ["notes.initech.example"])
        before = await _everything(database)
        with pytest.raises(SlugTakenError, match="initech"):
            await admin.create("initech")
        with pytest.raises(DomainTakenError):
            await admin.create("other", ["other.example", "Notes.Initech.Example."])
        with pytest.raises(DomainTakenError, match=r"has the domain notes\.initech\.example"):
            await admin.create("other", ["notes.initech.example"])
        assert await _everything(database) == before


async def test_without_the_owners_address_the_advice_is_to_set_it(
    database: Database, empty_database: Database
) -> None:
    async with provision.administrator(database.settings(admin_database_url=None)) as admin:
        with pytest.raises(DatabaseSetupError, match="TENANCY_ADMIN_DATABASE_URL is not set"):
            await admin.limit("acme", {"max_connections": 3})
    with pytest.raises(DatabaseSetupError, match="TENANCY_ADMIN_DATABASE_URL is not set"):
        await migrate.migrate(empty_database.settings(admin_database_url=None))


async def test_two_creates_of_one_slug_make_one_tenant(database: Database) -> None:
    async def create() -> object:
        async with provision.administrator(database.settings()) as admin:
            try:
                return await admin.create("initech")
            except SlugTakenError as error:
                return type(error)

    made = await asyncio.gather(*(create() for _ in range(8)))
    assert made.count(SlugTakenError) == 7
    names = [name for kind, name in await _everything(database) if kind == "schema"]
    assert sum("initech" in name for name in names) == 1


async def test_many_tenants_can_be_made_at_once(database: Database) -> None:
    async def create(number: int) -> provision.Profile:
        async with provision.administrator(database.settings()) as admin:
            return await admin.create(f"many-{number}")

    made = await asyncio.gather(*(create(n) for n in range(12)))
    assert len({profile.tenant.schema for profile in made}) == 12


@pytest.mark.parametrize("slug", ["", "A", "www", "a_b", "a" * 49, "pg-x"])
async def test_a_slug_that_is_none_makes_nothing(database: Database, slug: str) -> None:
    async with provision.administrator(database.settings()) as admin:
        with pytest.raises(InvalidSlugError):
            await admin.create(slug)
        for name in ("localhost", "example.com", "acme.example.com", "a.b.example.com"):
            with pytest.raises(InvalidDomainError):
                await admin.create("initech", [name])


async def test_a_failing_migration_leaves_nothing(database: Database, tmp_path: Path) -> None:
    _copy_sql(tmp_path)
    (tmp_path / "tenant" / "0002_broken.sql").write_text("CREATE TABLE a (id int);\nSELECT 1/0;\n")
    before = await _everything(database)
    async with provision.administrator(database.settings(sql_dir=tmp_path)) as admin:
        with pytest.raises(MigrationError, match=r"0002_broken\.sql:2"):
            await admin.create("initech")
    assert await _everything(database) == before


async def test_a_database_that_is_not_migrated_is_refused(
    empty_database: Database,
) -> None:
    async with provision.administrator(empty_database.settings()) as admin:
        with pytest.raises((MigrationRefusedError, DatabaseSetupError), match=r"tenancy\.migrate"):
            await admin.create("initech")
        with pytest.raises(DatabaseSetupError, match=r"tenancy\.migrate"):
            await admin.list()


async def test_a_tenant_is_not_made_while_shared_migrations_are_pending(
    database: Database, tmp_path: Path
) -> None:
    _copy_sql(tmp_path)
    (tmp_path / "shared" / "0002_more.sql").write_text("CREATE TABLE more (id int);\n")
    async with provision.administrator(database.settings(sql_dir=tmp_path)) as admin:
        with pytest.raises(MigrationRefusedError, match="shared"):
            await admin.create("initech")


async def test_addresses_of_two_databases_are_refused(
    database: Database, empty_database: Database
) -> None:
    settings = database.settings(database_url=empty_database.app_url)
    with pytest.raises(DatabaseSetupError, match="different databases"):
        async with provision.administrator(settings):
            pass


async def test_an_unknown_tenant_is_said_to_be_unknown(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        with pytest.raises(UnknownTenantError, match="nobody"):
            await admin.show("nobody")


async def test_a_login_that_may_not_make_roles_is_told_what_to_grant(
    database: Database, server_url: str, logins: Logins
) -> None:
    before = await _everything(database)
    root = await asyncpg.connect(server_url)
    try:
        await root.execute(f"ALTER ROLE {logins.owner} NOCREATEROLE")
        async with provision.administrator(database.settings()) as admin:
            with pytest.raises(DatabaseSetupError, match=r"CREATEROLE.*TENANCY_ISOLATION=schema"):
                await admin.create("initech")
        assert await _everything(database) == before
        async with provision.administrator(database.settings(isolation="schema")) as admin:
            assert (await admin.create("initech")).tenant.slug == "initech"
    finally:
        await root.execute(f"ALTER ROLE {logins.owner} CREATEROLE")
        await root.close()


async def test_tables_of_later_migrations_are_open_to_the_tenant(
    database: Database, tmp_path: Path
) -> None:
    _copy_sql(tmp_path)
    (tmp_path / "tenant" / "0002_tags.sql").write_text(
        "CREATE TABLE tags (id serial PRIMARY KEY, name text NOT NULL);\n"
    )
    settings = database.settings(sql_dir=tmp_path)
    (await migrate.migrate(settings)).raise_for_failures()
    async with Tenancy(settings=settings) as tenancy:
        async with tenancy.transaction("acme") as conn:
            await conn.execute("INSERT INTO tags (name) VALUES ('x')")


async def test_a_new_login_is_let_in_by_grant(
    database: Database, server_url: str, logins: Logins
) -> None:
    root = await asyncpg.connect(server_url)
    await root.execute("DROP ROLE IF EXISTS test_rotated; CREATE ROLE test_rotated LOGIN NOINHERIT")
    await root.execute(f"GRANT CONNECT ON DATABASE {database.name} TO test_rotated")
    try:
        url = database.app_url.replace(logins.app, "test_rotated")
        settings = database.settings(database_url=url)
        with pytest.raises(DatabaseSetupError, match="tenants grant"):
            await Tenancy(settings=settings).start()
        async with provision.administrator(settings) as admin:
            assert await admin.grant() == 2
        async with Tenancy(settings=settings) as tenancy:
            async with tenancy.transaction("acme") as conn:
                assert await conn.fetchval("SELECT count(*) FROM notes") == 0
    finally:
        await root.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
        await root.execute("DROP ROLE test_rotated")
        await root.close()
