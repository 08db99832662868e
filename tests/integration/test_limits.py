"""Limits of one tenant, from the command line to the server."""

import asyncio
import json
from contextlib import AsyncExitStack

import asyncpg
import pytest
from support.databases import Database, Open
from support.processes import environment, run
from support.wire import wire

from tenancy import Tenancy, provision
from tenancy.errors import InvalidLimitError, TenantBusyError, UnknownTenantError
from tenancy.fairness.limits import MAX_CONNECTIONS, STATEMENT_TIMEOUT


async def _limit(database: Database, **changes: float | None) -> None:
    async with provision.administrator(database.settings()) as admin:
        await admin.limit("acme", changes)


async def _row(database: Database, settings: str) -> None:
    conn = await asyncpg.connect(database.admin_url)
    await conn.execute("UPDATE tenancy.tenants SET settings = $1 WHERE slug = 'acme'", settings)
    await conn.close()


async def _timeout(tenancy: Tenancy, slug: str) -> str:
    async with tenancy.transaction(slug) as conn:
        return str(await conn.fetchval("SHOW statement_timeout"))


async def test_a_tenants_statement_timeout_is_its_own(
    open_tenancy: Open, database: Database
) -> None:
    await _limit(database, statement_timeout_seconds=0.2)
    async with open_tenancy(pool_max_size=1) as tenancy:
        for _ in range(2):  # nothing of it stays on the connection
            assert await _timeout(tenancy, "acme") == "200ms"
            assert await _timeout(tenancy, "globex") == "30s"
        with pytest.raises(asyncpg.QueryCanceledError):
            async with tenancy.transaction("acme") as conn:
                await conn.fetch("SELECT pg_sleep(60)")
        async with tenancy.transaction("globex") as conn:
            await conn.fetch("SELECT pg_sleep(0.3)")


async def test_a_statement_timeout_costs_no_round_trip(database: Database) -> None:
    async with wire(database.app_url) as line:
        async with Tenancy(
            settings=database.settings(database_url=line.url, registry_listen=False)
        ) as tenancy:
            await _timeout(tenancy, "globex")
            line.round_trips = 0
            await _timeout(tenancy, "globex")
            without = line.round_trips
            await _limit(database, statement_timeout_seconds=1)
            tenancy.registry.forget()
            await _timeout(tenancy, "acme")
            line.round_trips = 0
            assert await _timeout(tenancy, "acme") == "1s"
            assert line.round_trips == without


async def test_a_tenants_connections_are_limited(open_tenancy: Open, database: Database) -> None:
    await _limit(database, max_connections=1)
    async with open_tenancy(pool_acquire_timeout_seconds=0.2) as tenancy, AsyncExitStack() as stack:
        await stack.enter_async_context(tenancy.transaction("acme"))
        with pytest.raises(TenantBusyError):
            await asyncio.create_task(_timeout(tenancy, "acme"))
        await asyncio.create_task(_timeout(tenancy, "globex"))


@pytest.mark.parametrize(
    "settings",
    [
        '{"statement_timeout_seconds": "5; DROP SCHEMA shared", "max_connections": "many"}',
        '{"statement_timeout_seconds": -1, "max_connections": 0}',
        '{"statement_timeout_seconds": 1e300, "max_connections": 1e300}',
        '{"statement_timeout_seconds": {"a": []}, "max_connections": true}',
        '{"statement_timeout_seconds": 86400}',  # sense, but over what the settings allow
    ],
)
async def test_nonsense_in_the_row_leaves_the_settings_in_force(
    open_tenancy: Open, database: Database, settings: str
) -> None:
    await _row(database, settings)
    async with open_tenancy() as tenancy:
        assert await _timeout(tenancy, "acme") == "30s"


async def test_the_command_sets_shows_and_clears(database: Database) -> None:
    await _row(database, '{"theme": {"dark": null}}')
    env = environment(database.settings())

    async def command(*words: str) -> dict[str, object]:
        result = await run("-m", "tenancy", "tenants", *words, "--json", env=env)
        assert result.code == 0, result.err
        members: dict[str, object] = json.loads(result.out)
        return {name: members[name] for name in (STATEMENT_TIMEOUT, MAX_CONNECTIONS)}

    both = {STATEMENT_TIMEOUT: 5, MAX_CONNECTIONS: 3}
    words = ("limit", "acme", "--statement-timeout", "5", "--max-connections", "3")
    assert await command(*words) == both
    assert await command("limit", "acme", "--statement-timeout", "0") == {
        STATEMENT_TIMEOUT: None,
        MAX_CONNECTIONS: 3,
    }
    conn = await asyncpg.connect(database.admin_url)
    row = await conn.fetchval("SELECT settings FROM tenancy.tenants WHERE slug = 'acme'")
    await conn.close()
    assert json.loads(row) == {"theme": {"dark": None}, "max_connections": 3}


@pytest.mark.parametrize(
    "changes",
    [
        {STATEMENT_TIMEOUT: 31.0},
        {STATEMENT_TIMEOUT: float("nan")},
        {STATEMENT_TIMEOUT: -1},
        {MAX_CONNECTIONS: 1.5},
        {MAX_CONNECTIONS: 1001},
        {"theme": 1},
    ],
)
async def test_what_makes_no_sense_is_refused(
    database: Database, changes: dict[str, float | None]
) -> None:
    async with provision.administrator(database.settings()) as admin:
        with pytest.raises(InvalidLimitError):
            await admin.limit("acme", changes)


async def test_an_unknown_tenant_has_no_limits(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        with pytest.raises(UnknownTenantError):
            await admin.limit("nobody", {MAX_CONNECTIONS: 1})
