"""An overview of the fleet, which changes nothing: what a run would do, and how all stand."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Files
from tenancy.migrate.fleet import waves
from tenancy.migrate.fleet.options import Options
from tenancy.migrate.ledger import fingerprints, runs, standings
from tenancy.migrate.ledger.records import OddShape
from tenancy.migrate.plan import survey as surveys
from tenancy.migrate.plan.steps import Survey
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings


async def plan(
    settings: Settings, options: Options | None = None, *, tenants: Sequence[str] | None = None
) -> Survey:
    """Return what is behind, and what `migrate` would do about it; changes nothing.

    Raises:
        InvalidOptionsError, MigrationFileError, UnknownVersionError: as `migrate`.
        UnknownTenantError: the options mean a tenant that is not there, or none.
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: as `migrate`.
    """
    chosen = _chosen(options, tenants)
    files = load_all(settings)
    async with Session(settings) as session:
        return await session.query(lambda conn: _survey(conn, files, settings, chosen))


async def status(
    settings: Settings, options: Options | None = None, *, tenants: Sequence[str] | None = None
) -> Survey:
    """Return who is behind, since when and why, and how many schemas stand where.

    Raises:
        MigrationError: as `plan`; but a pending file that is refused is told in ``unfit``.
    """
    chosen = _chosen(options, tenants)
    files = load_all(settings)

    async def look(conn: asyncpg.Connection) -> Survey:
        found = await _survey(conn, files, settings, chosen, details=True)
        if found.empty:
            return found
        holds = await lock.holder_process(conn, lock.RUN) is not None
        return replace(
            found,
            versions=tuple(await standings.versions(conn)),
            shapes=await _shapes(conn),
            last_run=await runs.last_run(conn),
            holder=await lock.holder(conn, lock.RUN) if holds else "",
        )

    async with Session(settings) as session:
        return await session.query(look)


def _chosen(options: Options | None, tenants: Sequence[str] | None) -> Options:
    options = options or Options()
    return options if tenants is None else replace(options, tenants=tuple(tenants))


async def _shapes(conn: asyncpg.Connection) -> tuple[OddShape, ...]:
    # A catalog that is itself behind may not have the column.
    with contextlib.suppress(asyncpg.UndefinedColumnError):
        return tuple(await fingerprints.odd(conn))
    return ()


async def _survey(
    conn: asyncpg.Connection,
    files: Files,
    settings: Settings,
    options: Options,
    *,
    details: bool = False,
) -> Survey:
    selection, until = options.selection_in(files), options.until_in(files)
    found = await surveys.survey(
        conn, files, settings.shared_schema, selection, until, details=details
    )
    await surveys.refuse_unknown(conn, selection, waves.slugs(options.canary), empty=found.empty)
    return found
