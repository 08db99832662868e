"""The registry's memory: fresh enough, asked once, bounded."""

import asyncio

import asyncpg
import pytest
from support.databases import Database, Open
from support.wire import wire

from tenancy import Tenancy
from tenancy.errors import UnknownTenantError


async def _execute(database: Database, text: str) -> None:
    conn = await asyncpg.connect(database.admin_url)
    try:
        await conn.execute(text)
    finally:
        await conn.close()


async def test_a_known_tenant_costs_no_query(database: Database) -> None:
    async with wire(database.app_url) as line:
        async with Tenancy(settings=database.settings(database_url=line.url)) as tenancy:
            await tenancy.find("acme")
            line.round_trips = 0
            for _ in range(100):
                await tenancy.find("acme")
            assert line.round_trips == 0


async def test_a_hundred_requests_for_a_new_name_ask_once(database: Database) -> None:
    async with wire(database.app_url) as line:
        async with Tenancy(settings=database.settings(database_url=line.url)) as tenancy:
            await tenancy.find("globex")
            line.round_trips = 0
            await asyncio.gather(*(tenancy.find("acme") for _ in range(100)))
            assert line.round_trips <= 4


async def test_a_waiters_cancellation_does_not_fail_the_others(tenancy: Tenancy) -> None:
    tenancy.registry.forget()
    first, second = (asyncio.create_task(tenancy.find("acme")) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).slug == "acme"


async def test_a_change_is_seen_after_the_time_to_live(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(registry_ttl_seconds=0.2) as tenancy:
        assert (await tenancy.find("acme")).state == "active"
        await _execute(database, "UPDATE tenancy.tenants SET state = 'suspended'")
        assert (await tenancy.find("acme")).state == "active"
        await asyncio.sleep(0.3)
        assert (await tenancy.find("acme")).state == "suspended"


async def test_an_unknown_name_is_unknown_until_its_time_to_live(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(registry_negative_ttl_seconds=0.2) as tenancy:
        with pytest.raises(UnknownTenantError):
            await tenancy.find("initech")
        await _execute(
            database,
            "INSERT INTO tenancy.tenants (slug, schema_name, state) "
            "VALUES ('initech', 't_initech', 'active')",
        )
        with pytest.raises(UnknownTenantError):
            await tenancy.find("initech")
        await asyncio.sleep(0.3)
        assert (await tenancy.find("initech")).version is None


async def test_a_flood_of_unknown_names_is_bounded(open_tenancy: Open) -> None:
    async with open_tenancy(registry_max_entries=50) as tenancy:
        await tenancy.find("acme")
        for n in range(200):
            with pytest.raises(UnknownTenantError):
                await tenancy.find(f"made-up-{n}")
        assert len(tenancy.registry._entries) == 50


async def test_a_tenant_carries_its_checkpoint(tenancy: Tenancy) -> None:
    assert (await tenancy.find("acme")).version == "0001"
