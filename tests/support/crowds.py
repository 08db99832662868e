"""Thousands of tenants, made by the server itself: empty, or with tables and a ledger."""

import asyncio

import asyncpg

from support.databases import Database, superuser
from tenancy import Settings, migrate
from tenancy.migrate.files.model import Migration

BATCH = 250  # schemas in one transaction: each takes entries of the lock table
HANDS = 4

# Runs outside of a transaction, so that it may commit between its batches.
_MAKE = """
    DO $do$
    DECLARE
        number integer;
        schema text;
        namespace oid;
    BEGIN
        SET LOCAL check_function_bodies = off;
        FOR number IN {first}..{last} LOOP
            schema := 't_tenant_' || number;
            EXECUTE format('CREATE SCHEMA %I AUTHORIZATION {owner}', schema);
            namespace := to_regnamespace(schema);
            INSERT INTO tenancy.tenants (slug, schema_name, state)
            VALUES ('tenant-' || number, schema, 'active');
            {files}
            IF number % {batch} = 0 THEN
                COMMIT;
            END IF;
        END LOOP;
    END
    $do$
"""
# What the migrator does for one file, in the same words.
_FILE = """
            PERFORM set_config('search_path', quote_ident(schema) || ', pg_temp', true);
            SET LOCAL ROLE {owner};
            EXECUTE {text};
            RESET ROLE;
            INSERT INTO tenancy.migrations
                (schema_oid, version, schema_name, stage, name, checksum)
            VALUES (namespace, {version}, schema, 'tenant', {name}, {checksum});
"""
_CHECKPOINT = """
            INSERT INTO tenancy.checkpoints (schema_oid, schema_name, stage, version, digest)
            VALUES (namespace, schema, 'tenant', {version}, {digest});
"""


async def make(database: Database, tenants: int, *, settings: Settings | None = None) -> None:
    """Register ``tenant-1`` to ``tenant-<tenants>``, each with a schema.

    Args:
        database: with a catalog and no tenants.
        tenants: how many.
        settings: of a deployment all whose files, which are SQL, have been applied to them; None:
            their schemas are empty.
    """
    owner = await _owner(database)
    files = migrate.load(settings).tenant if settings is not None else ()
    share = -(-tenants // HANDS)
    spans = [(first, min(first + share - 1, tenants)) for first in range(1, tenants + 1, share)]
    async with superuser(database.superuser_url) as conn:
        # Nobody listens, and a notification for each of them would be all that is measured.
        await conn.execute("ALTER TABLE tenancy.tenants DISABLE TRIGGER USER")
        await conn.execute("ALTER TABLE tenancy.checkpoints DISABLE TRIGGER USER")
        try:
            await asyncio.gather(*(_span(database, owner, span, files) for span in spans))
        finally:
            await conn.execute("ALTER TABLE tenancy.tenants ENABLE TRIGGER USER")
            await conn.execute("ALTER TABLE tenancy.checkpoints ENABLE TRIGGER USER")
        await conn.execute("VACUUM ANALYZE")


async def _span(
    database: Database, owner: str, span: tuple[int, int], files: tuple[Migration, ...]
) -> None:
    body = "".join(_of(migration, owner) for migration in files)
    if files:
        last = files[-1]
        body += _CHECKPOINT.format(version=_literal(last.version), digest=_literal(last.digest))
    text = _MAKE.format(first=span[0], last=span[1], owner=owner, files=body, batch=BATCH)
    async with superuser(database.superuser_url) as conn:
        await conn.execute(text, timeout=3600)


def _of(migration: Migration, owner: str) -> str:
    return _FILE.format(
        owner=owner,
        text=_literal(migration.source.text),
        version=_literal(migration.version),
        name=_literal(migration.name),
        checksum=_literal(migration.checksum),
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def _owner(database: Database) -> str:
    conn = await asyncpg.connect(database.admin_url)
    owner = str(await conn.fetchval("SELECT current_user"))
    await conn.close()
    return owner
