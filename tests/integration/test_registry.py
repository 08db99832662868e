"""The registry's memory: fresh enough, asked once, bounded, and believed no longer than it may be.

Here nobody listens to changes; tests/integration/test_listener.py is about that.
"""

import asyncio
import resource

import pytest
from support.changes import execute
from support.databases import Database, Open
from support.wire import HOLD, PASS, wire

from tenancy import Tenancy
from tenancy.errors import MisdirectedHostError, RegistryBusyError, TenancyError, UnknownTenantError
from tenancy.resolvers import KeyKind, TenantKey

DEAF = {"registry_listen": False}


async def _unknown(tenancy: Tenancy, slug: str) -> TenancyError:
    with pytest.raises(TenancyError) as caught:
        await tenancy.find(slug)
    return caught.value


async def test_a_known_tenant_costs_no_query(database: Database) -> None:
    async with wire(database.app_url) as line:
        settings = database.settings(database_url=line.url, **DEAF)
        async with Tenancy(settings=settings) as tenancy:
            line.round_trips = 0
            for _ in range(100):
                await tenancy.find("acme")
            assert line.round_trips == 0


async def test_a_hundred_requests_for_a_new_name_ask_once(database: Database) -> None:
    async with wire(database.app_url) as line:
        settings = database.settings(database_url=line.url, **DEAF)
        async with Tenancy(settings=settings) as tenancy:
            tenancy.registry.forget()
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
    async with open_tenancy(registry_ttl_seconds=0.5, **DEAF) as tenancy:
        assert (await tenancy.find("acme")).state == "active"
        await execute(database, "UPDATE tenancy.tenants SET state = 'suspended'")
        await asyncio.sleep(0.6)
        assert (await tenancy.find("acme")).state == "suspended"
    async with open_tenancy(registry_ttl_seconds=3600, **DEAF) as tenancy:
        await execute(database, "UPDATE tenancy.tenants SET state = 'active'")
        assert (await tenancy.find("acme")).state == "suspended"


async def test_an_unknown_name_is_unknown_until_its_time_to_live(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(registry_negative_ttl_seconds=0.5, **DEAF) as tenancy:
        assert isinstance(await _unknown(tenancy, "initech"), UnknownTenantError)
        await execute(
            database,
            "INSERT INTO tenancy.tenants (slug, schema_name, state) "
            "VALUES ('initech', 't_initech', 'active')",
        )
        await asyncio.sleep(0.6)
        assert (await tenancy.find("initech")).version is None


async def test_a_tenant_carries_its_checkpoint(tenancy: Tenancy) -> None:
    assert (await tenancy.find("acme")).version == "0001"


@pytest.mark.parametrize(
    "key",
    [
        TenantKey(KeyKind.SLUG, "a\0b"),
        TenantKey(KeyKind.SLUG, "\ud800"),
        TenantKey(KeyKind.ID, "not-an-id"),
        TenantKey(KeyKind.ID, "{00000000-0000-0000-0000-000000000000}"),
        TenantKey(KeyKind.DOMAIN, "a..b"),
    ],
)
@pytest.mark.parametrize("listen", [True, False])
async def test_a_name_that_cannot_be_is_nobodys(
    open_tenancy: Open, key: TenantKey, *, listen: bool
) -> None:
    async with open_tenancy(registry_listen=listen) as tenancy:
        with pytest.raises((UnknownTenantError, MisdirectedHostError)):
            await tenancy.registry.find(key)


async def _flood(tenancy: Tenancy, number: int) -> dict[str, int]:
    """Ask for that many made-up names, and for acme beside each hundred; count the answers."""
    answers: dict[str, int] = {}

    async def ask(n: int) -> None:
        try:
            await tenancy.find("acme" if n % 100 == 0 else f"made-up-{n}")
            code = "found"
        except TenancyError as error:
            code = error.code
        answers[code] = answers.get(code, 0) + 1

    for start in range(0, number, 500):
        await asyncio.gather(*(ask(n) for n in range(start, start + 500)))
    return answers


async def test_a_flood_of_unknown_names_reaches_the_database_at_its_rate(
    database: Database,
) -> None:
    async with wire(database.app_url) as line:
        settings = database.settings(
            database_url=line.url, registry_lookups_per_second=20, registry_max_entries=50, **DEAF
        )
        async with Tenancy(settings=settings) as tenancy:
            line.round_trips = 0
            begun = asyncio.get_running_loop().time()
            answers = await _flood(tenancy, 20_000)
            seconds = asyncio.get_running_loop().time() - begun
            asked = answers.get("unknown_tenant", 0)
            print(f"20,000 names in {seconds:.1f} s: {answers}, {line.round_trips} round trips")
            assert answers["found"] == 200
            assert answers["registry_busy"] == 19_800 - asked
            assert asked <= 20 * (seconds + 1)
            # A connection's first query is prepared, and asks for the types of its columns.
            assert line.round_trips <= 2 * asked + 40
            assert len(tenancy.registry._memory._absent) <= 50
            assert len(tenancy.registry._asking) == len(tenancy.registry._tasks) == 0


async def test_a_flood_of_unknown_names_costs_no_query_where_changes_are_heard(
    database: Database,
) -> None:
    async with wire(database.app_url) as line:
        settings = database.settings(database_url=line.url, registry_ttl_seconds=3600)
        async with Tenancy(settings=settings) as tenancy:
            line.round_trips = 0
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            answers = await _flood(tenancy, 20_000)
            assert answers == {"found": 200, "unknown_tenant": 19_800}
            assert line.round_trips <= 10  # of the listener, which asks whether it is alive
            assert not tenancy.registry._memory._absent
            print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before} KB more")


async def test_more_tenants_than_may_be_kept_are_served_all_the_same(
    open_tenancy: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_tenancy(registry_max_entries=1) as tenancy:
        for _ in range(5):
            assert (await tenancy.find("acme")).slug == "acme"
            assert (await tenancy.find("globex")).slug == "globex"
            assert isinstance(await _unknown(tenancy, "initech"), UnknownTenantError)
        assert len(tenancy.registry._memory._tenants) == 1
    assert "TENANCY_REGISTRY_MAX_ENTRIES=1" in caplog.text


async def test_a_tenant_seen_before_does_not_wait_for_strangers(database: Database) -> None:
    """Strangers' queries hang; a tenant whose time to live is over is looked up all the same."""
    async with wire(database.app_url) as line:
        settings = database.settings(
            database_url=line.url, registry_ttl_seconds=0.1, pool_acquire_timeout_seconds=1, **DEAF
        )
        async with Tenancy(settings=settings) as tenancy:
            line.verdict = lambda data: HOLD if b"stranger" in data else PASS
            strangers = [asyncio.create_task(tenancy.find(f"stranger-{n}")) for n in range(50)]
            await asyncio.sleep(0.3)
            assert (await tenancy.find("acme")).slug == "acme"
            busy = [await asyncio.gather(each, return_exceptions=True) for each in strangers[2:]]
            assert all(isinstance(error, RegistryBusyError) for [error] in busy)
            line.verdict = lambda _: PASS
            for link in line._links:
                link.cancel()
            await asyncio.gather(*strangers, return_exceptions=True)
