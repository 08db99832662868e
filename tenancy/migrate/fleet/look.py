"""A look at the fleet, which changes nothing: what a run would do, and how all stand."""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Files
from tenancy.migrate.fleet import waves
from tenancy.migrate.fleet.options import Options
from tenancy.migrate.ledger import standings
from tenancy.migrate.plan import survey as surveys
from tenancy.migrate.plan.steps import Survey
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
        MigrationError: as `plan`.
    """
    chosen = _chosen(options, tenants)
    files = load_all(settings)

    async def look(conn: asyncpg.Connection) -> Survey:
        found = await _survey(conn, files, settings, chosen)
        if found.empty:
            return found
        return replace(found, versions=tuple(await standings.versions(conn)))

    async with Session(settings) as session:
        return await session.query(look)


def _chosen(options: Options | None, tenants: Sequence[str] | None) -> Options:
    options = options or Options()
    return options if tenants is None else replace(options, tenants=tuple(tenants))


async def _survey(
    conn: asyncpg.Connection, files: Files, settings: Settings, options: Options
) -> Survey:
    selection, until = options.selection_in(files), options.until_in(files)
    found = await surveys.survey(conn, files, settings.shared_schema, selection, until)
    await surveys.refuse_unknown(conn, selection, waves.slugs(options.canary), empty=found.empty)
    return found
