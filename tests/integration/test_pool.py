"""Which connection a tenant is given, and when it is replaced."""

from support.databases import Open

from tenancy import Tenancy


async def _process(tenancy: Tenancy, slug: str) -> int:
    async with tenancy.transaction(slug, readonly=True) as conn:
        return int(await conn.fetchval("SELECT pg_backend_pid()"))


async def test_a_tenant_is_given_the_connection_that_knows_it(open_tenancy: Open) -> None:
    async with open_tenancy(pool_min_size=2, pool_max_size=2) as tenancy:
        acme = await _process(tenancy, "acme")
        globex = await _process(tenancy, "globex")
        assert acme != globex  # the one that has served fewer
        for _ in range(3):
            assert await _process(tenancy, "acme") == acme
            assert await _process(tenancy, "globex") == globex


async def test_a_connection_that_has_served_many_tenants_is_replaced(open_tenancy: Open) -> None:
    async with open_tenancy(pool_min_size=1, pool_max_size=1, pool_max_schemas=1) as tenancy:
        first = await _process(tenancy, "acme")
        assert await _process(tenancy, "acme") == first
        assert await _process(tenancy, "globex") == first
        assert await _process(tenancy, "globex") != first
        assert tenancy.pool.size == 1
