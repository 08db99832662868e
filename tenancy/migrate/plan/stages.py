"""Whether the stages that come before the tenants have all their files."""

import contextlib

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.identifiers import CATALOG_SCHEMA
from tenancy.migrate.files.model import Files, Stage, target
from tenancy.migrate.ledger import checkpoints, standings
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.survey import behind
from tenancy.settings import Settings


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
        for step in await behind(conn, files, stage, settings.shared_schema)
    ]
    late = {s.standing.stage for s in found if s.position.verdict is not Verdict.AHEAD}
    return tuple(stage for stage in stages if stage in late)


async def refuse_unless_current(conn: asyncpg.Connection, settings: Settings, files: Files) -> None:
    """Pass if a tenant can be made: the catalog and the shared schema have all their files.

    Raises:
        MigrationRefusedError: one of them has not; or there are no files of tenants, and those
            that are there have some.
    """
    targets = {CATALOG_SCHEMA: target(files.catalog), settings.shared_schema: target(files.shared)}
    with contextlib.suppress(asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        # Nearly always, and told by one query.
        if files.tenant and await checkpoints.stand(conn, targets):
            return
    if behind := await stages_behind(conn, settings, files):
        raise MigrationRefusedError(
            f"{' and '.join(behind)} migrations are pending: run `python -m tenancy.migrate`"
        )
    if not files.tenant and await standings.migrated(conn, Stage.TENANT):
        raise MigrationRefusedError(
            "tenant/ holds no file, and the tenants that are there were made of some: is "
            "TENANCY_SQL_DIR the folder of this database?"
        )
