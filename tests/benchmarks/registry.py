"""What the registry's memory costs: reading it whole, keeping it, asking it, being told of changes.

``python tests/benchmarks/registry.py [tenants ...]``
"""

import asyncio
import gc
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import asyncpg
import psutil
from support.databases import Database
from support.servers import fleet

from tenancy import Tenancy
from tenancy.errors import UnknownTenantError
from tenancy.resolvers import KeyKind, TenantKey

ROUNDS = 7


async def _stalls(seconds: list[float]) -> None:
    """Note how long the event loop keeps a sleeper waiting."""
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.0005)
        seconds.append(time.perf_counter() - begun - 0.0005)


async def _fill(database: Database, tenants: int) -> None:
    conn = await asyncpg.connect(database.admin_url)
    await conn.execute(
        "INSERT INTO tenancy.tenants (slug, schema_name, state) "
        f"SELECT 'x-' || n, 't_x_' || n, 'active' FROM generate_series(1, {tenants}) AS n; "
        "INSERT INTO tenancy.domains (name, tenant_id, verified_at) "
        "SELECT slug || '.test', id, now() FROM tenancy.tenants WHERE slug LIKE 'x-%0'; "
    )
    for start in range(1, min(tenants, 10_000) + 1, 500):
        await conn.execute(
            f"DO $$ BEGIN FOR n IN {start}..{start + 499} LOOP "
            "EXECUTE format('CREATE SCHEMA t_x_%s', n); END LOOP; END $$; "
            "INSERT INTO tenancy.checkpoints (schema_oid, schema_name, stage, version, digest) "
            "SELECT n.oid, n.nspname, 'tenant', '0001', '' FROM pg_namespace n "
            "WHERE nspname LIKE 't\\_x\\_%' ON CONFLICT DO NOTHING"
        )
    await conn.close()
    conn = await asyncpg.connect(database.superuser_url)
    await conn.execute("ANALYZE")
    await conn.close()


async def _measure(database: Database, tenants: int) -> None:
    before = psutil.Process().memory_info().rss
    settings = database.settings(registry_max_entries=tenants + 10)
    async with Tenancy(settings=settings) as tenancy:
        registry = tenancy.registry
        assert registry.listening
        gc.collect()
        kept = psutil.Process().memory_info().rss - before
        took, stalls = [], list[float]()
        async with tenancy.pool.connection() as conn:
            for _ in range(ROUNDS):
                stalls.clear()
                sleeper = asyncio.create_task(_stalls(stalls))
                begun = time.perf_counter()
                await registry.catch_up(conn.fetch, everything=True)
                took.append(time.perf_counter() - begun)
                sleeper.cancel()
        keys = [TenantKey(KeyKind.SLUG, f"x-{n % tenants + 1}") for n in range(0, 700_000, 7)]
        begun = time.perf_counter()
        for key in keys:
            await registry.find(key)
        known = (time.perf_counter() - begun) / len(keys)
        begun = time.perf_counter()
        for n in range(100_000):
            with suppress(UnknownTenantError):
                await registry.find(TenantKey(KeyKind.SLUG, f"made-up-{n}"))
        unknown = (time.perf_counter() - begun) / 100_000
        ids = [str((await tenancy.find(f"x-{n % tenants + 1}")).id) for n in range(1000)]
        begun = time.perf_counter()
        for n in range(100_000):
            registry.changed(ids[n % 1000])
        told = (time.perf_counter() - begun) / 100_000
        print(
            f"{tenants:7,} tenants: read in {statistics.median(took) * 1000:.0f} ms, "
            f"the loop waits {max(stalls) * 1000:.1f} ms at most; {kept / 2**20:.0f} MB; "
            f"known {known * 1e6:.2f} us, unknown {unknown * 1e6:.2f} us, told {told * 1e6:.2f} us"
        )


async def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or [10, 10_000, 100_000]
    for tenants in sizes:
        async with fleet(2) as (database, _):
            await _fill(database, tenants)
            await _measure(database, tenants)


if __name__ == "__main__":
    asyncio.run(main())
