"""What the migrations must have reached before a process serves.

A process never migrates by itself: TENANCY_MIGRATIONS says to wait for a run, or to be one.
"""

import asyncio
import logging
from dataclasses import dataclass

import asyncpg

from tenancy import migrate
from tenancy.errors import MigrationsPendingError
from tenancy.identifiers import CATALOG_SCHEMA
from tenancy.migrate import Files, Stage
from tenancy.pool.pool import Pool
from tenancy.settings import AtStart, Settings

_log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
REMIND_SECONDS = 30.0

# Those that stand before a file of ours. One that stands elsewhere was taken on by a newer build.
_TENANTS_BEHIND = """
    SELECT count(*) AS behind FROM tenancy.tenants AS t
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = t.schema_name::name
    LEFT JOIN tenancy.checkpoints AS c ON c.schema_oid = n.oid AND c.schema_name = n.nspname
    WHERE t.state IN ('active', 'read_only') AND coalesce(c.digest, '') = ANY ($1::text[])
"""
_DIGESTS = "SELECT schema_name, digest FROM tenancy.checkpoints WHERE schema_name = ANY ($1)"


@dataclass(frozen=True, slots=True)
class Pending:
    """What is behind the files of this process.

    Attributes:
        schemas: of the catalog's and the shared one.
        tenants: how many of those that are served.
    """

    schemas: tuple[str, ...] = ()
    tenants: int = 0

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self.schemas or self.tenants)

    def __str__(self) -> str:
        tenants = [f"{self.tenants} tenants"] if self.tenants else []
        return f"behind this build's files: {', '.join([*self.schemas, *tenants])}"


async def bring_up(pool: Pool, settings: Settings) -> None:
    """Do what TENANCY_MIGRATIONS says, before the first request.

    Tenants that stay behind, because a file fails there, hold nobody up for longer than
    TENANCY_MIGRATIONS_WAIT_SECONDS: a warning says how many there are.

    Raises:
        MigrationsPendingError: the catalog or the shared schema has not been brought up in time.
        MigrationError: they could not be, by this process.
        SettingsError, MigrationFileError: there are no files to compare with.
    """
    if settings.migrations is AtStart.NONE:
        return
    if settings.migrations is AtStart.APPLY and await _apply(settings):
        return
    await until_current(pool, settings)


async def until_current(pool: Pool, settings: Settings) -> None:
    """Wait until the database stands where the files say; see `bring_up`."""
    files = migrate.load(settings)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.migrations_wait_seconds
    said_at = float("-inf")
    while found := await pending(pool, settings, files):
        if loop.time() >= deadline:
            if found.schemas:
                raise MigrationsPendingError(f"{found}: run `python -m tenancy.migrate`")
            _log.warning("%s: serving without having waited for them any longer", found)
            return
        if loop.time() >= said_at + REMIND_SECONDS:
            _log.info("waiting for migrations: %s", found)
            said_at = loop.time()
        await asyncio.sleep(POLL_SECONDS)


async def pending(pool: Pool, settings: Settings, files: Files) -> Pending:
    """Return what is behind *files*; asks with the login of requests alone."""
    schemas = {CATALOG_SCHEMA: Stage.CATALOG, settings.shared_schema: Stage.SHARED}
    try:
        rows = await pool.read(_DIGESTS, list(schemas))
        found = {row["schema_name"]: row["digest"] for row in rows}
        tenants = await pool.read(_TENANTS_BEHIND, _before(files, Stage.TENANT))
    except asyncpg.UndefinedTableError:
        return Pending(tuple(schemas))
    except asyncpg.InsufficientPrivilegeError:
        return Pending()  # the preflight says better what this login lacks
    late = (name for name in schemas if found.get(name, "") in _before(files, schemas[name]))
    return Pending(tuple(late), tenants[0]["behind"])


def _before(files: Files, stage: Stage) -> list[str]:
    return [migration.previous for migration in files.of(stage)]


async def _apply(settings: Settings) -> bool:
    """Whether this process has migrated; not where another one is at it."""
    try:
        report = await migrate.migrate(settings)
    except migrate.RunLockHeldError:
        return False
    if any(result.faulty and result.stage is not Stage.TENANT for result in report.results):
        report.raise_for_failures()
    failed = sum(result.faulty for result in report.results)
    if failed:
        _log.warning(
            "%d tenants could not be migrated: see `python -m tenancy.migrate status`", failed
        )
    return True
