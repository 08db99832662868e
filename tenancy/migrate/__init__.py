"""The migrator: brings every tenant's schema to what the files say, and can be killed at any time.

``python -m tenancy.migrate`` is its command; these are its functions.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.files.folder import load_all as load
from tenancy.migrate.files.folder import packaged_sql_folder
from tenancy.migrate.files.model import Files, Migration, Stage
from tenancy.migrate.fleet.run import up as migrate
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.plan import survey as surveys
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Survey
from tenancy.migrate.report.outcomes import Outcome, Report, Result
from tenancy.migrate.upgrade import runner
from tenancy.migrate.upgrade.lock import RunLockHeldError
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

__all__ = [
    "Files",
    "Migration",
    "Outcome",
    "Report",
    "Result",
    "RunLockHeldError",
    "Stage",
    "Survey",
    "apply_all",
    "load",
    "migrate",
    "packaged_sql_folder",
    "plan",
    "stages_behind",
    "status",
]


async def plan(settings: Settings, *, tenants: Sequence[str] = ()) -> Survey:
    """Return what is behind, and what `migrate` would do about it; changes nothing.

    Raises:
        MigrationFileError: a file is refused.
        UnknownTenantError: no tenant has one of the slugs in *tenants*.
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: as `migrate`.
    """
    files = load(settings)
    async with Session(settings) as session:
        return await session.query(
            lambda conn: surveys.survey(conn, files, settings.shared_schema, tenants)
        )


status = plan  # one survey answers both: what is pending, and who is behind and why


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


async def apply_all(
    conn: asyncpg.Connection,
    settings: Settings,
    schema: str,
    migrations: Sequence[Migration],
    run_id: UUID | None = None,
) -> None:
    """Apply *migrations* to the new schema *schema*, in the open transaction of *conn*.

    The path stays the schema's until that transaction ends: deferred triggers run at COMMIT.

    Raises:
        MigrationError: a statement failed, with its place and SQLSTATE; roll back.
    """
    found = await checkpoints.schema(conn, schema)
    if found is None:
        raise MigrationError(f"the schema {schema} does not exist: create it first")
    for migration in migrations:
        await runner.apply(conn, found, migration, run_id, shared=settings.shared_schema)
