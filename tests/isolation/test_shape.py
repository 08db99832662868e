"""Tenants at different checkpoints get right answers over one connection."""

import asyncpg
from support.databases import Open
from support.notes import write

from tenancy import Tenancy


async def _go_ahead(owner: asyncpg.Connection) -> None:
    """Bring acme, and nobody else, one migration ahead, with another result for ``SELECT *``."""
    await owner.execute(
        "ALTER TABLE notes ADD pinned boolean NOT NULL DEFAULT false; "
        "UPDATE tenancy.checkpoints SET version = '0002' WHERE schema_name = current_schema()"
    )


async def _columns(tenancy: Tenancy, slug: str) -> int:
    async with tenancy.transaction(slug, readonly=True) as conn:
        return len(await conn.fetchrow("SELECT * FROM notes WHERE id = $1", 1))


async def test_half_a_fleet_ahead_gets_right_answers(
    open_tenancy: Open, owner: asyncpg.Connection
) -> None:
    async with open_tenancy(pool_max_size=1) as tenancy:
        for slug in ("acme", "globex"):
            await write(tenancy, slug, slug)
        assert await _columns(tenancy, "acme") == await _columns(tenancy, "globex") == 4
        await _go_ahead(owner)
        tenancy.registry.forget()
        for _ in range(5):
            assert await _columns(tenancy, "acme") == 5
            assert await _columns(tenancy, "globex") == 4
        assert tenancy.pool.size == 1
