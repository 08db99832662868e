"""The migrator: brings every tenant's schema to what the files say, and can be killed at any time.

``python -m tenancy.migrate`` is its command; these are its functions.
"""

import importlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from tenancy.errors import MigrationError, MigrationRefusedError
from tenancy.migrate.files.folder import load_all as load
from tenancy.migrate.files.folder import packaged_sql_folder, sql_folder
from tenancy.migrate.files.model import Files, Migration, Stage
from tenancy.migrate.fleet.look import plan, status
from tenancy.migrate.fleet.options import Options
from tenancy.migrate.fleet.run import resume
from tenancy.migrate.fleet.run import up as migrate
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.origin import snapshot as snapshots
from tenancy.migrate.plan import survey as surveys
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Survey
from tenancy.migrate.report.outcomes import Outcome, Report, Result
from tenancy.migrate.shape import snapshot as snapshot_file
from tenancy.migrate.shape.snapshot import Snapshot
from tenancy.migrate.upgrade import fresh
from tenancy.migrate.upgrade.batches import Batch
from tenancy.migrate.upgrade.lock import RunLockHeldError
from tenancy.migrate.upgrade.python import Context
from tenancy.migrate.upgrade.scratch import keep, scratch
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

if TYPE_CHECKING:
    from tenancy.migrate.upkeep.baseline import Baselined, baseline
    from tenancy.migrate.upkeep.down import Reversed, down
    from tenancy.migrate.upkeep.mending import Wanted
    from tenancy.migrate.upkeep.repair import Repairs, repairs
    from tenancy.migrate.upkeep.resolve import resolve
    from tenancy.migrate.upkeep.verdicts import Verification
    from tenancy.migrate.upkeep.verify import verify

_log = logging.getLogger(__name__)

__all__ = [
    "Baselined",
    "Batch",
    "Context",
    "Files",
    "Migration",
    "Options",
    "Outcome",
    "Repairs",
    "Report",
    "Result",
    "Reversed",
    "RunLockHeldError",
    "Snapshot",
    "Stage",
    "Survey",
    "Verification",
    "Wanted",
    "apply_all",
    "baseline",
    "built",
    "down",
    "keep",
    "load",
    "migrate",
    "packaged_sql_folder",
    "plan",
    "refuse_unless_current",
    "repairs",
    "resolve",
    "resume",
    "snapshot",
    "stages_behind",
    "status",
    "verify",
]


# Imported when they are asked for: a run that finds nothing pending has no need of them.
_UPKEEP = {
    "Baselined": "baseline",
    "Repairs": "repair",
    "Reversed": "down",
    "Verification": "verdicts",
    "Wanted": "mending",
    "baseline": "baseline",
    "down": "down",
    "repairs": "repair",
    "resolve": "resolve",
    "verify": "verify",
}


def __getattr__(name: str) -> object:
    if name not in _UPKEEP:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.upkeep.{_UPKEEP[name]}"), name)


async def stages_behind(
    conn: asyncpg.Connection, settings: Settings, files: Files
) -> tuple[Stage, ...]:
    """Return those of the catalog and the shared stage that have something pending.

    A tenant made before they are brought up would be made on less than its files expect.
    """
    stages = (Stage.CATALOG, Stage.SHARED)
    if not await checkpoints.exists(conn):
        return stages
    found = [
        step
        for stage in stages
        for step in await surveys.behind(conn, files, stage, settings.shared_schema)
    ]
    late = {s.standing.stage for s in found if s.position.verdict is not Verdict.AHEAD}
    return tuple(stage for stage in stages if stage in late)


async def refuse_unless_current(conn: asyncpg.Connection, settings: Settings, files: Files) -> None:
    """Pass if the catalog and the shared schema have all their files.

    Raises:
        MigrationRefusedError: one of them has not.
    """
    if behind := await stages_behind(conn, settings, files):
        raise MigrationRefusedError(
            f"{' and '.join(behind)} migrations are pending: run `python -m tenancy.migrate`"
        )


async def apply_all(
    conn: asyncpg.Connection,
    settings: Settings,
    schema: str,
    migrations: Sequence[Migration],
    run_id: UUID | None = None,
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
        *(conn, found, tuple(migrations), run_id),
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


async def snapshot(
    settings: Settings, *, with_seeds: bool = True, frozen: bool = False
) -> Snapshot:
    """Return a new snapshot of all files of tenants, proved against them; writes nothing.

    Args:
        settings: where the database and the files are.
        with_seeds: take along the rows that the files insert; else refuse where there are any.
        frozen: give every tenant this run's values where they differ from run to run.

    Raises:
        MigrationRefusedError: the catalog or the shared schema is behind, or as
            `origin.snapshot.made`.
        MigrationError, DatabaseSetupError: likewise.
    """
    files = load(settings)
    async with Session(settings) as session:
        await session.query(lambda conn: refuse_unless_current(conn, settings, files))
    return await snapshots.made(settings, files, with_seeds=with_seeds, frozen=frozen)


async def _fitting(
    conn: asyncpg.Connection, settings: Settings, migrations: tuple[Migration, ...]
) -> Snapshot | None:
    found = snapshot_file.read(sql_folder(settings))
    if found is None:
        return None
    world = await snapshots.world(conn, settings.shared_schema)
    reason = found.misfit(migrations, world, conn.get_server_version().major)
    if reason:
        _log.warning(
            "%s is passed over, all files are applied instead: %s; "
            "make it again with `python -m tenancy.migrate snapshot`",
            snapshot_file.LABEL,
            reason,
        )
    return None if reason else found
