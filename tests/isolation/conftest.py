"""What the isolation tests share."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from support.databases import Database
from support.notes import write

from tenancy import Tenancy


@pytest.fixture
async def both(tenancy: Tenancy) -> Tenancy:
    """Tenants acme and globex, each with a note of its own under the id 1, over one connection."""
    assert (
        await write(tenancy, "acme", "of acme") == await write(tenancy, "globex", "of globex") == 1
    )
    return tenancy


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection, with acme's schema as its path, for changes to the tables."""
    conn = await asyncpg.connect(database.admin_url)
    schema = await conn.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = 'acme'")
    await conn.execute(f'SET search_path = "{schema}"')
    yield conn
    await conn.close()
