"""The first steps in an empty database: the catalog, whose ledger cannot record its own making."""

import asyncpg

from tenancy.identifiers import CATALOG_SCHEMA, quoted
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import Move, SchemaRef
from tenancy.migrate.upgrade import lock, runner, script
from tenancy.migrate.upgrade.session import Session, unprivileged
from tenancy.settings import Settings


async def make_catalog(session: Session, migrations: tuple[Migration, ...]) -> list[str]:
    """Make the catalog where there is none, all in one transaction; return the versions applied.

    Of two that come at once one makes it, and the other finds it made.

    Raises:
        DatabaseSetupError: the login may not create schemas.
        MigrationFailedError: a file failed.
        LockHeldError: somebody else has been making it for a minute.
    """

    async def make(conn: asyncpg.Connection) -> list[str]:
        if await checkpoints.exists(conn):
            return []
        async with lock.held(conn, lock.BOOTSTRAP):
            if await checkpoints.exists(conn):
                return []
            return await _fill(conn, migrations, session.settings)

    return await session.query(make)


async def make_shared(session: Session, name: str) -> None:
    """Make the shared schema where there is none: everybody's to read, its owner's to write.

    Raises:
        DatabaseSetupError: the login may not create schemas.
    """

    async def make(conn: asyncpg.Connection) -> None:
        if await checkpoints.schema(conn, name) is not None:
            return
        async with lock.held(conn, lock.BOOTSTRAP), conn.transaction():
            if await checkpoints.schema(conn, name) is None:
                await _schema(conn, name, session.settings)
                await conn.execute(runner.readable(name))

    await session.query(make)


async def _fill(
    conn: asyncpg.Connection, migrations: tuple[Migration, ...], settings: Settings
) -> list[str]:
    async with conn.transaction():
        schema = await checkpoints.schema(conn, CATALOG_SCHEMA)
        schema = schema or await _schema(conn, CATALOG_SCHEMA, settings)
        role: str = await conn.fetchval("SELECT current_user::text")
        for migration in migrations:
            await script.run(conn, schema, migration, shared="", role=role)
        for migration in migrations:
            move = Move(migration.previous, migration.digest, migration.version)
            await conn.execute(checkpoints.claim(schema, migration, run_id=None))
            await conn.execute(checkpoints.moved(schema, migration.stage, move))
    return [migration.version for migration in migrations]


async def _schema(conn: asyncpg.Connection, name: str, settings: Settings) -> SchemaRef:
    try:
        await conn.execute(f"CREATE SCHEMA {quoted(name)}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise unprivileged(settings, f"the schema {name}") from error
    oid = await conn.fetchval("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1", name)
    return SchemaRef(oid, name)
