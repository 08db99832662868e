"""G13: one tenant cannot take the pool."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from support.databases import Open
from support.notes import read

from tenancy import Tenancy, TenancyError


async def _sleep(tenancy: Tenancy, slug: str, seconds: float) -> None:
    async with tenancy.transaction(slug) as conn:
        await conn.fetch("SELECT pg_sleep($1)", seconds)


@asynccontextmanager
async def _flood(tenancy: Tenancy, slug: str, requests: int) -> AsyncIterator[Counter[str]]:
    """Requests of one tenant, each of which would run for a minute."""
    seen: Counter[str] = Counter()

    async def one() -> None:
        try:
            await _sleep(tenancy, slug, 60)
        except TenancyError as error:
            seen[error.code] += 1

    tasks = [asyncio.create_task(one()) for _ in range(requests)]
    try:
        while tenancy.pool.permits.waiting + seen.total() == 0:  # noqa: ASYNC110 - sets no event
            await asyncio.sleep(0.01)
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("size", [2, 3, 10])
async def test_a_flood_of_slow_queries_leaves_room_for_others(
    open_tenancy: Open, size: int
) -> None:
    async with open_tenancy(pool_max_size=size, pool_acquire_timeout_seconds=60) as tenancy:
        async with _flood(tenancy, "acme", 50):
            for _ in range(20):
                assert await asyncio.wait_for(read(tenancy, "globex"), 20) == []
            async with tenancy.shared() as conn:
                assert await conn.fetchval("SELECT 1") == 1
            tenancy.registry.forget()
            assert (await asyncio.wait_for(tenancy.find("globex"), 20)).slug == "globex"


async def test_a_flood_is_refused_by_its_own_code_and_others_are_not(open_tenancy: Open) -> None:
    async with open_tenancy(
        pool_max_size=4, pool_max_waiting=20, pool_acquire_timeout_seconds=0.5
    ) as tenancy:
        async with _flood(tenancy, "acme", 50) as seen:
            while seen.total() < 48:
                assert await asyncio.create_task(read(tenancy, "globex")) == []
                await asyncio.sleep(0.01)
            assert seen == {"tenant_busy": 48}  # 2 at work, 10 waited in vain, 38 not even that


async def test_a_tenant_is_served_as_soon_as_one_of_its_own_ends(open_tenancy: Open) -> None:
    async with open_tenancy(pool_max_size=2) as tenancy:
        await asyncio.gather(*(_sleep(tenancy, "acme", 0.02) for _ in range(10)))
        assert tenancy.pool.permits.free == 2


async def test_every_tenant_at_once_is_served(open_tenancy: Open) -> None:
    async with open_tenancy(pool_max_size=2) as tenancy:
        names = [slug for _ in range(100) for slug in ("acme", "globex")]
        assert await asyncio.gather(*(read(tenancy, slug) for slug in names)) == [[]] * 200
        assert tenancy.pool.permits.free == 2


async def test_shared_code_waits_like_a_tenant_and_takes_no_more(open_tenancy: Open) -> None:
    async with open_tenancy(pool_max_size=2, pool_acquire_timeout_seconds=0.1) as tenancy:

        async def shared() -> None:
            async with tenancy.shared():
                pass

        async with AsyncExitStack() as stack:
            await stack.enter_async_context(tenancy.shared())
            with pytest.raises(TenancyError) as caught:
                await asyncio.create_task(shared())
            assert caught.value.code == "tenant_busy"
            await asyncio.create_task(read(tenancy, "acme"))


@pytest.mark.parametrize("of", ["nested", "failing entry", "cancelled"])
async def test_a_permit_comes_back_whatever_happens(open_tenancy: Open, of: str) -> None:
    async with open_tenancy(pool_max_size=2) as tenancy:
        for _ in range(5):
            if of == "nested":
                with pytest.raises(TenancyError):
                    async with tenancy.transaction("acme"), tenancy.transaction("acme"):
                        pass
            elif of == "failing entry":
                await tenancy.pool._pool.expire_connections()
                tenancy.pool._pool._connect_args = ("postgresql://127.0.0.1:1/nowhere",)
                with pytest.raises(TenancyError):
                    await read(tenancy, "acme")
            else:
                task = asyncio.create_task(_sleep(tenancy, "acme", 60))
                await asyncio.sleep(0.01)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        assert (tenancy.pool.permits.free, tenancy.pool.permits.waiting) == (2, 0)
        assert not tenancy.pool.permits._shares
