"""Tables in which other tools keep which files they have applied: none of a tenant's own."""

from collections.abc import Collection, Sequence

import asyncpg

from tenancy.identifiers import quoted_login
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.records import SchemaRef

# Not those called as a table of the application's own may be, such as TypeORM's `migrations`.
_LEDGERS = """
    schema_migrations ar_internal_metadata goose_db_version gorp_migrations schema_version
    schema_lock flyway_schema_history databasechangelog databasechangeloglock alembic_version
    django_migrations knex_migrations knex_migrations_lock _prisma_migrations migrations_lock
    atlas_schema_revisions _sqlx_migrations __diesel_schema_migrations refinery_schema_history
    seaql_migrations db_migrations db_lock bun_migrations bun_migration_locks SequelizeMeta
    pgmigrations kysely_migration kysely_migration_lock mikro_orm_migrations phinxlog
    doctrine_migration_versions __EFMigrationsHistory _yoyo_migration _yoyo_log _yoyo_version
    yoyo_lock play_evolutions play_evolutions_lock aerich
"""
LEDGERS = frozenset(_LEDGERS.split())

_TABLES = """
    SELECT relname::text AS name FROM pg_catalog.pg_class
    WHERE relnamespace = $1 AND relkind IN ('r', 'p') AND relname = ANY ($2) ORDER BY relname
"""


async def tables(conn: asyncpg.Connection, schema: SchemaRef, names: Collection[str]) -> list[str]:
    """Return those of *names* that are tables in *schema*."""
    return [row["name"] for row in await conn.fetch(_TABLES, schema.oid, list(names))]


async def passed_over(conn: asyncpg.Connection, made: SchemaRef) -> frozenset[str]:
    """Return the names of such tables, but for those that the files have made in *made*."""
    return LEDGERS.difference(await tables(conn, made, LEDGERS))


def unwritten(migrations: Sequence[Migration]) -> frozenset[str]:
    """Return the names of such tables that no file speaks of; pure."""
    texts = [migration.written.source.text for migration in migrations]
    return frozenset(name for name in LEDGERS if not any(name in text for text in texts))


def advice(schema: str, left: Sequence[str]) -> str:
    """Return what is to be done about the tables *left* in *schema*, a tenant's now; pure."""
    them = "them" if len(left) > 1 else "it"
    names = [f"{quoted_login(schema)}.{quoted_login(name)}" for name in left]
    return (
        f"still in the schema, and made by no file: {', '.join(left)}; `verify` will tell of {them}"
        f" and end with 3. Once nothing needs {them} any more: DROP TABLE {', '.join(names)}; or "
        f"move {them} away: ALTER TABLE {names[0]} SET SCHEMA ..."
    )
