"""What was there before becomes a tenant: a schema of this database, or another database's."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from support.databases import Database, Logins, at, drop_database, make_database, superuser
from support.fleets import Fleet
from support.odd_sql import FILES

from tenancy import provision

# Without a path of the schema's own in a function: another schema's would be another definition.
HISTORY = {
    name: text.replace(" SET search_path FROM CURRENT", "")
    for name, text in FILES.items()
    if "0004" not in name
}
ROWS = '''
    INSERT INTO notes (id, body, parent) VALUES (100, 'hundred', 101), (101, 'more', NULL);
    INSERT INTO "Odd ""Name""" (mood, mail, kind) SELECT 'low', n || '@x', 'plain'
        FROM generate_series(1, 2000) AS n;
    INSERT INTO parts VALUES ('2025-01-01', 5);
    SELECT setval('notes_id_seq', 500);
    REFRESH MATERIALIZED VIEW counted;
'''
CONTENT = '''
    SELECT 'notes', count(*), max(body) FROM {schema}.notes
    UNION ALL SELECT 'odd', count(*), max(mail) FROM {schema}."Odd ""Name"""
    UNION ALL SELECT 'parts', count(*), max(at)::text FROM {schema}.parts_1
    UNION ALL SELECT 'counted', n, NULL FROM {schema}.counted
    UNION ALL SELECT 'sequence', nextval('{schema}.notes_id_seq'), NULL
'''
EXPECTED = [
    ("notes", 4, "two; \\\\ 'quoted'\\n"),
    ("odd", 2002, "a@b"),
    ("parts", 2, "2025-01-01"),
    ("counted", 4, None),
    ("sequence", 501, None),
]


@pytest.fixture
async def odd(fresh: Fleet) -> Fleet:
    """A fleet with a catalog, a shared schema and odd files of tenants; no tenant yet."""
    (fresh.sql / "tenant/0001_notes.sql").unlink()
    for name, text in HISTORY.items():
        fresh.write(name, text)
    (await fresh.up()).raise_for_failures()
    return fresh


async def by_hand(conn: asyncpg.Connection, schema: str) -> None:
    """Make what the files make, in *schema*, with rows of its own."""
    await conn.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path = {schema}, shared")
    for name in sorted(HISTORY):
        if name.startswith("tenant/"):
            await conn.execute(HISTORY[name])
    await conn.execute(f"{ROWS}; RESET search_path")


async def content(conn: asyncpg.Connection, schema: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await conn.fetch(CONTENT.format(schema=schema))]


@pytest.fixture
async def root(fresh: Fleet, server_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser, in the fleet's database."""
    name = fresh.dsn.partition("?")[0].rpartition("/")[2]
    async with superuser(at(server_url, database=name)) as conn:
        yield conn


@pytest.fixture
async def old(server_url: str, logins: Logins) -> AsyncIterator[Database]:
    """A database of a single customer, with the same tables in its schema public."""
    database = await make_database(server_url, logins)
    async with superuser(database.superuser_url) as conn:
        await conn.execute("CREATE SCHEMA shared")
        await conn.execute(FILES["shared/0001_kinds.sql"].replace("kinds", "shared.kinds"))
        await by_hand(conn, "public")
        await conn.execute("CREATE TABLE public.schema_migrations (version text PRIMARY KEY)")
    yield database
    await drop_database(server_url, database)


async def test_a_schema_of_this_database_becomes_a_tenant(
    odd: Fleet, root: asyncpg.Connection
) -> None:
    await by_hand(root, "customer_a")
    arguments = ("adopt", "--schema", "customer_a", "--slug", "acme", "--at", "0003")
    result = await odd.asked(*arguments)
    assert result.code == 6
    assert "ALTER SCHEMA customer_a OWNER TO" in result.err
    for statement in result.err.partition(" of both, ")[2].split("; "):
        await root.execute(statement)
    result = await odd.asked(*arguments, "--domain", "notes.acme.example")
    assert result.code == 0, result.err
    assert await odd.versions() == {"acme": "0003"}
    async with provision.administrator(odd.settings) as admin:
        profile = await admin.show("acme")
    assert profile.domains == ("notes.acme.example",)
    assert await content(root, profile.tenant.schema) == EXPECTED


async def test_another_database_becomes_a_tenant(
    odd: Fleet, old: Database, root: asyncpg.Connection
) -> None:
    arguments = ("adopt", "--from-url-env", "OLD_URL", "--slug", "acme", "--at", "0003")
    result = await odd.asked(*arguments, OLD_URL=old.superuser_url)
    assert result.code == 0, result.err
    assert await odd.versions() == {"acme": "0003"}
    async with provision.administrator(odd.settings) as admin:
        schema = (await admin.show("acme")).tenant.schema
    assert await content(root, schema) == EXPECTED
    odd.write("tenant/0005_next.sql", "ALTER TABLE notes ADD pinned boolean;")
    assert (await odd.up()).exit_code() == 0
    assert await odd.versions() == {"acme": "0005"}
