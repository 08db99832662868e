"""The snapshot: what new tenants start from is what all files make."""

import pytest
from support.fleets import Fleet
from support.odd_sql import FILES

from tenancy import migrate
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.origin import alike

SNAPSHOT = "snapshot/tenant.sql"


@pytest.fixture
async def odd(fresh: Fleet) -> Fleet:
    """A fleet with a catalog, a shared schema and odd files of tenants; no tenant yet."""
    (fresh.sql / "tenant/0001_notes.sql").unlink()
    for name, text in FILES.items():
        fresh.write(name, text)
    (await fresh.up()).raise_for_failures()
    return fresh


async def new(fleet: Fleet, schema: str) -> SchemaRef:
    """Make *schema* as provisioning does."""
    async with fleet.connection() as conn:
        async with conn.transaction():
            await conn.execute(f"CREATE SCHEMA {schema}")
            await migrate.apply_all(conn, fleet.settings, schema, fleet.files.tenant)
        oid = await conn.fetchval("SELECT oid FROM pg_namespace WHERE nspname = $1", schema)
        return SchemaRef(oid, schema)


async def test_a_tenant_from_the_snapshot_is_like_one_from_all_files(odd: Fleet) -> None:
    replayed = await new(odd, "t_replayed")
    result = await odd.asked("snapshot")
    assert result.code == 0, result.err
    copied = await new(odd, "t_copied")
    async with odd.connection() as conn:
        assert await alike.differences(conn, replayed, copied) == []
