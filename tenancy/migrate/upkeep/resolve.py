"""A statement in doubt, of which only a person can say what has become."""

import asyncpg

from tenancy.errors import MigrationRefusedError, UnknownTenantError
from tenancy.migrate.files.versions import spelled
from tenancy.migrate.ledger import checkpoints, runs, steps
from tenancy.migrate.ledger.members import schema_of
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.ledger.steps import Direction, Place
from tenancy.migrate.report.outcomes import Ending
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings


async def resolve(settings: Settings, tenant: str, *, version: str, step: int, done: bool) -> str:
    """Say what has become of a statement in doubt; the next run goes on. Return its schema's name.

    Who said it is in the ledger (``tenancy.steps.resolved_by``), and when (``tenancy.runs``).

    Args:
        settings: where the database is.
        tenant: a slug, or the shared schema's name.
        version: of the file; leading zeros may be left out.
        step: of its statements, from 1.
        done: it was done; else it is to be run again.

    Raises:
        UnknownTenantError: there is no such tenant.
        MigrationRefusedError: that statement is not in doubt.
        LockHeldError: somebody is at this schema.
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: it cannot be reached or used.
    """
    async with Session(settings) as session:
        conn = await session.connection()
        schema = await _schema(conn, settings, tenant)
        async with lock.held(conn, schema.oid), conn.transaction():
            doubtful = await steps.doubtful(conn, schema.oid)
            version = next((one for one in doubtful if spelled(version, [one]) == one), version)
            for direction in Direction:
                place = Place(schema, version, direction, step)
                if await steps.resolve(conn, place, is_done=done):
                    options = {"tenant": tenant, "version": version, "step": step, "done": done}
                    run_id = await runs.start_run(conn, "resolve", options)
                    await runs.finish_run(conn, run_id, Ending.CURRENT)
                    return schema.name
            raise MigrationRefusedError(
                f"statement {step} of {version} is not in doubt in {schema.name}: "
                "see `python -m tenancy.migrate status`"
            )


async def _schema(conn: asyncpg.Connection, settings: Settings, tenant: str) -> SchemaRef:
    """Return the schema of the tenant with this slug, or the shared one by its name."""
    try:
        return await schema_of(conn, tenant)
    except UnknownTenantError:
        shared = await checkpoints.schema(conn, settings.shared_schema)
        if shared is None or shared.name != tenant:
            raise
        return shared
