"""A new tenant's schema, from the snapshot where one fits and from the files."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.files.folder import sql_folder
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.origin.snapshot import world
from tenancy.migrate.shape.snapshot import LABEL, Snapshot, read
from tenancy.migrate.upgrade import fresh
from tenancy.migrate.upgrade.scratch import scratch
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

_log = logging.getLogger(__name__)


async def apply_all(
    conn: asyncpg.Connection,
    settings: Settings,
    schema: str,
    migrations: Sequence[Migration],
) -> None:
    """Apply *migrations* to the new schema *schema*, in the open transaction of *conn*.

    Where there is a snapshot that fits them, it stands for the files it was made of. The path stays
    the schema's until that transaction ends: deferred triggers run at COMMIT.

    Raises:
        MigrationError: a statement failed, with its place and SQLSTATE; roll back.
        MigrationFileError: the snapshot was edited.
    """
    found = await checkpoints.schema(conn, schema)
    if found is None:
        raise MigrationError(f"the schema {schema} does not exist: create it first")
    await fresh.fill(
        *(conn, found, tuple(migrations)),
        shared=settings.shared_schema,
        snapshot=await _fitting(conn, settings, tuple(migrations)),
    )


@asynccontextmanager
async def built(
    settings: Settings, schema: str, migrations: Sequence[Migration]
) -> AsyncIterator[SchemaRef]:
    """Yield the new schema *schema*, to which *migrations* were applied in a transaction each.

    For files that cannot all be in one. At the end of the block it is dropped, unless that has
    made it a tenant's and said `keep`; where the process is killed, the next who builds one does.

    Raises:
        MigrationError: a file failed, with its place and SQLSTATE.
        MigrationFileError: the snapshot was edited.
    """
    async with Session(settings) as session, scratch(session, schema) as found:
        conn = await session.connection()
        await fresh.fill_apart(
            *(session, found, tuple(migrations)),
            shared=settings.shared_schema,
            snapshot=await _fitting(conn, settings, tuple(migrations)),
        )
        yield found


async def _fitting(
    conn: asyncpg.Connection, settings: Settings, migrations: tuple[Migration, ...]
) -> Snapshot | None:
    found = read(sql_folder(settings))
    if found is None:
        return None
    here = await world(conn, settings.shared_schema)
    reason = found.misfit(migrations, here, conn.get_server_version().major)
    if reason:
        _log.warning(
            "%s is passed over, all files are applied instead: %s; "
            "make it again with `python -m tenancy.migrate snapshot`",
            LABEL,
            reason,
        )
    return None if reason else found
