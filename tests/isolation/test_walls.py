"""G1: what the server itself refuses inside the gate, at each isolation level."""

import asyncio

import asyncpg
import pytest
from support.databases import Database, Open
from support.notes import read, write

from tenancy import Tenancy, TenancyError
from tenancy.errors import TenantReadOnlyError

REACHING_OUT = {
    "reads by name": "SELECT body FROM {other}.notes",
    "writes by name": "INSERT INTO {other}.notes (body) VALUES ('planted')",
    "deletes by name": "DELETE FROM {other}.notes",
    "truncates its own table": "TRUNCATE notes",
    "drops its own table": "DROP TABLE notes",
    "creates in its own schema": "CREATE TABLE mine (id int)",
    "creates in public": "CREATE TABLE public.mine (id int)",
    "creates in shared": "CREATE TABLE shared.mine (id int)",
    "writes shared data": "DELETE FROM shared.languages",
    "creates a temporary table": "CREATE TEMP TABLE notes (id int)",
    "plants a trigger": "CREATE TRIGGER planted BEFORE INSERT ON notes "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "plants a function": "CREATE FUNCTION planted() RETURNS int LANGUAGE sql RETURN 1",
    "plants a default": "ALTER TABLE notes ALTER body SET DEFAULT current_user",
    "plants a policy": "CREATE POLICY planted ON notes USING (true)",
    "plants a rule": "CREATE RULE planted AS ON INSERT TO notes DO NOTHING",
    "makes a role": "CREATE ROLE planted",
    "reads the ledger": "SELECT * FROM tenancy.migrations",
    "reads the registry": "SELECT * FROM tenancy.tenants",
    "writes the registry": "UPDATE tenancy.tenants SET state = 'suspended'",
    "ends other sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE usename = '{owner}'",
}


@pytest.fixture
async def other(database: Database) -> str:
    conn = await asyncpg.connect(database.admin_url)
    try:
        return str(
            await conn.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = 'globex'")
        )
    finally:
        await conn.close()


@pytest.mark.parametrize("text", REACHING_OUT.values(), ids=REACHING_OUT.keys())
async def test_the_server_refuses_a_tenant_that_reaches_out(
    both: Tenancy, owner: asyncpg.Connection, other: str, text: str
) -> None:
    name = await owner.fetchval("SELECT current_user")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with both.transaction("acme") as conn:
            await conn.execute(text.format(other=other, owner=name))
    assert await read(both, "globex") == ["of globex"]


async def test_other_sessions_statements_cannot_be_watched(
    both: Tenancy, owner: asyncpg.Connection
) -> None:
    await owner.fetchval("SELECT 'a secret of the owner'")
    async with both.transaction("acme") as conn:
        seen = await conn.fetch("SELECT query FROM pg_stat_activity WHERE usename <> current_user")
    assert not [row for row in seen if "a secret of the owner" in (row["query"] or "")]


@pytest.mark.parametrize("schema", ["public", "tenancy"])
async def test_a_missing_table_is_an_error_and_never_found_elsewhere(
    both: Tenancy, database: Database, schema: str
) -> None:
    root = await asyncpg.connect(database.superuser_url)
    await root.execute(
        f"CREATE TABLE {schema}.elsewhere (id int); GRANT ALL ON {schema}.elsewhere TO PUBLIC"
    )
    await root.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    await root.close()
    with pytest.raises(asyncpg.UndefinedTableError):
        async with both.transaction("acme") as conn:
            await conn.fetch("SELECT * FROM elsewhere")


async def test_the_login_itself_reaches_no_tenant(database: Database, other: str) -> None:
    conn = await asyncpg.connect(database.app_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetch(f"SELECT * FROM {other}.notes")
        with pytest.raises(asyncpg.UndefinedTableError):
            await conn.fetch("SELECT * FROM notes")
    finally:
        await conn.close()


async def test_at_level_schema_the_path_alone_leads_to_the_tenant(open_tenancy: Open) -> None:
    async with open_tenancy(isolation="schema", pool_max_size=1) as tenancy:
        await write(tenancy, "acme", "of acme")
        await write(tenancy, "globex", "of globex")
        assert await read(tenancy, "acme") == ["of acme"]
        assert await read(tenancy, "globex") == ["of globex"]
        async with tenancy.transaction("acme") as conn:
            assert await conn.fetchval("SELECT current_user = session_user")


async def test_shared_data_is_read_by_every_tenant_and_by_operators(both: Tenancy) -> None:
    for slug in ("acme", "globex"):
        async with both.transaction(slug, readonly=True) as conn:
            assert (
                await conn.fetchval("SELECT name FROM languages WHERE code = 'nl'") == "Nederlands"
            )
    async with both.shared() as conn:
        assert await conn.fetchval("SELECT count(*) FROM languages") == 5
        with pytest.raises(asyncpg.UndefinedTableError):
            async with conn.transaction():
                await conn.fetch("SELECT * FROM notes")


async def test_a_read_only_tenant_cannot_write(both: Tenancy, owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE tenancy.tenants SET state = 'read_only' WHERE slug = 'acme'")
    both.registry.forget()
    with pytest.raises(TenantReadOnlyError):
        await write(both, "acme", "refused")
    assert await read(both, "acme") == ["of acme"]


@pytest.mark.parametrize("state", ["suspended", "provisioning", "deleting"])
async def test_a_tenant_that_is_not_served_has_no_transaction(
    both: Tenancy, owner: asyncpg.Connection, state: str
) -> None:
    await owner.execute("UPDATE tenancy.tenants SET state = $1 WHERE slug = 'acme'", state)
    both.registry.forget()
    with pytest.raises(TenancyError):
        await read(both, "acme")


async def test_two_tenants_with_equal_ids_never_meet(open_tenancy: Open) -> None:
    async with open_tenancy(pool_max_size=2) as tenancy:
        for slug in ("acme", "globex"):
            assert await write(tenancy, slug, slug) == 1

        async def look(slug: str) -> None:
            for _ in range(100):
                async with tenancy.transaction(slug) as conn:
                    assert await conn.fetchval("SELECT body FROM notes WHERE id = 1") == slug

        await asyncio.gather(*(look(slug) for slug in ("acme", "globex") for _ in range(4)))
