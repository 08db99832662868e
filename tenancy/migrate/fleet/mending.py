"""What a person decides for single tenants: a statement in doubt, the way back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg

from tenancy.errors import MigrationRefusedError, UnknownTenantError
from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import checkpoints, runs, steps
from tenancy.migrate.ledger.records import Failure, SchemaRef
from tenancy.migrate.ledger.steps import Direction, Place
from tenancy.migrate.plan import back
from tenancy.migrate.report.events import Event
from tenancy.migrate.report.outcomes import Ending
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.downward import Downgrade, wanted
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.migrate.upgrade.script import MigrationFailedError, NeedsDecisionError
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `down` would take back from one tenant, newest first."""

    tenant: str
    schema: SchemaRef
    migrations: tuple[Migration, ...]


@dataclass(frozen=True, slots=True)
class Reversed:
    """What came of it.

    Attributes:
        versions: taken back, newest first, also where a later one failed.
        failure: None: all were.
        doubtful: whether a statement's outcome waits for `resolve`.
    """

    tenant: str
    schema: str
    versions: tuple[str, ...]
    failure: Failure | None = None
    doubtful: bool = False


async def resolve(settings: Settings, tenant: str, *, version: str, step: int, done: bool) -> str:
    """Say what has become of a statement in doubt; the next run goes on. Return its schema's name.

    Who said it is in the ledger (``tenancy.steps.resolved_by``), and when (``tenancy.runs``).

    Args:
        settings: where the database is.
        tenant: a slug, or the shared schema's name.
        version: of the file.
        step: of its statements, from 1.
        done: it was done; else it is to be run again.

    Raises:
        UnknownTenantError: there is no such tenant.
        MigrationRefusedError: that statement is not in doubt, or nothing was applied yet.
        LockHeldError: somebody is at this schema.
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: it cannot be reached or used.
    """
    async with Session(settings) as session:
        conn = await session.connection()
        schema = await _schema(conn, settings, tenant)
        async with lock.held(conn, schema.oid), conn.transaction():
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


async def reversal(settings: Settings, to: str, tenants: Sequence[str]) -> tuple[Wanted, ...]:
    """Return what `down` would take back; changes nothing.

    Raises:
        As `down`.
    """
    migrations = load_all(settings).tenant
    async with Session(settings) as session:
        return await session.query(lambda conn: _wanted(conn, settings, migrations, to, tenants))


async def down(
    settings: Settings,
    to: str,
    tenants: Sequence[str],
    *,
    watch: Callable[[Event], None] | None = None,
) -> tuple[Reversed, ...]:
    """Take *tenants* back to the version *to*, one after the other; one that fails stops no other.

    Each file's way back is one transaction with its row in the ledger, or goes in steps where it
    asks for that.

    Args:
        settings: where the database and the files are.
        to: the version that is to be the newest; 0: nothing is to stay.
        tenants: slugs; there has to be one.
        watch: told of what takes long while it is under way.

    Raises:
        MigrationRefusedError: a file has no way back, or a baseline stands for it, or the ledger
            and the files differ: nothing was taken back.
        RunLockHeldError: a run is under way.
        UnknownTenantError: there is no such tenant.
        MigrationFileError, DatabaseUnavailableError, DatabaseSetupError, SettingsError: likewise.
    """
    migrations = load_all(settings).tenant
    async with Session(settings) as control, Session(settings) as session:
        conn = await control.connection()
        await lock.take_run(conn)
        found = await _wanted(conn, settings, migrations, to, tenants)
        options = {"to": to, "tenants": list(tenants)}
        run_id = await control.query(lambda conn: runs.start_run(conn, "down", options))
        results = []
        for one in found:
            going = Downgrade(
                *(session, one.schema, migrations, run_id),
                shared=settings.shared_schema,
                to=back.target(migrations, to),
                watch=watch,
            )
            results.append(await _reversed(one, going))
        failed = any(result.failure for result in results)
        ending = Ending.FAILED if failed else Ending.CURRENT
        await control.query(lambda conn: runs.finish_run(conn, run_id, ending))
        return tuple(results)


async def _reversed(one: Wanted, going: Downgrade) -> Reversed:
    failure, doubtful = None, False
    try:
        await going.run()
    except LockHeldError as error:
        failure = Failure("", one.schema.name, str(error))
    except MigrationRefusedError as error:
        failure = Failure("", one.schema.name, str(error))
    except MigrationFailedError as error:
        failure, doubtful = error.failure, isinstance(error, NeedsDecisionError)
    return Reversed(one.tenant, one.schema.name, tuple(going.reversed), failure, doubtful)


async def _wanted(
    conn: asyncpg.Connection,
    settings: Settings,
    migrations: tuple[Migration, ...],
    to: str,
    tenants: Sequence[str],
) -> tuple[Wanted, ...]:
    version = back.target(migrations, to)
    found = []
    for slug in dict.fromkeys(tenants):
        schema = await _schema(conn, settings, slug)
        with _naming(slug):
            digest = await checkpoints.digest(conn, schema)
            history = await checkpoints.history(conn, schema.oid)
            found.append(Wanted(slug, schema, wanted(migrations, digest, history, version)))
    return tuple(found)


async def _schema(conn: asyncpg.Connection, settings: Settings, tenant: str) -> SchemaRef:
    """Return the schema of the tenant with this slug, or the shared one by its name."""
    if not await checkpoints.exists(conn):
        raise MigrationRefusedError("there is no ledger yet: run `python -m tenancy.migrate`")
    name = await conn.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = $1", tenant)
    if name is None and tenant == settings.shared_schema:
        name = tenant
    found = await checkpoints.schema(conn, name) if name else None
    if found is None:
        raise UnknownTenantError(f"no tenant has the slug {tenant}, or its schema is gone")
    return found


@contextmanager
def _naming(tenant: str) -> Iterator[None]:
    try:
        yield
    except MigrationRefusedError as error:
        raise MigrationRefusedError(f"{tenant}: {error}") from error
