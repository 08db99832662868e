"""Tenants taken back to an earlier version."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import checkpoints, runs, steps
from tenancy.migrate.ledger.members import schema_of
from tenancy.migrate.ledger.records import Failure, SchemaRef
from tenancy.migrate.plan import back
from tenancy.migrate.report.events import Event
from tenancy.migrate.report.outcomes import Ending
from tenancy.migrate.upgrade import aside, lock
from tenancy.migrate.upgrade.downward import Downgrade, wanted
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.migrate.upgrade.script import MigrationFailedError, NeedsDecisionError
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings


@dataclass(frozen=True, slots=True)
class Planned:
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


async def reversal(settings: Settings, to: str, tenants: Sequence[str]) -> tuple[Planned, ...]:
    """Return what `down` would take back; changes nothing.

    Raises:
        As `down`.
    """
    migrations = load_all(settings).tenant
    async with Session(settings) as session:
        return await session.query(lambda conn: _planned(conn, migrations, to, tenants))


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
        found = await _planned(conn, migrations, to, tenants)
        options = {"to": to, "tenants": list(tenants)}
        run_id = await control.query(lambda conn: runs.start_run(conn, "down", options))
        results = []

        async def files() -> Iterable[Migration]:
            return [migration for one in found for migration in one.migrations]

        async with aside.reports(control.query, files):
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


async def _reversed(one: Planned, going: Downgrade) -> Reversed:
    failure, doubtful = None, False
    try:
        await going.run()
    except (LockHeldError, MigrationRefusedError) as error:
        failure = Failure("", one.schema.name, str(error))
    except MigrationFailedError as error:
        failure, doubtful = error.failure, isinstance(error, NeedsDecisionError)
    return Reversed(one.tenant, one.schema.name, tuple(going.reversed), failure, doubtful)


async def _planned(
    conn: asyncpg.Connection,
    migrations: tuple[Migration, ...],
    to: str,
    tenants: Sequence[str],
) -> tuple[Planned, ...]:
    version = back.target(migrations, to)
    found = []
    for slug in dict.fromkeys(tenants):
        schema = await schema_of(conn, slug)
        with _naming(slug):
            digest = await checkpoints.digest(conn, schema)
            history = await checkpoints.history(conn, schema.oid)
            unfinished = await steps.unfinished(conn, schema.oid)
            pending = wanted(migrations, digest, history, version, unfinished)
            found.append(Planned(slug, schema, pending))
    return tuple(found)


@contextmanager
def _naming(tenant: str) -> Iterator[None]:
    try:
        yield
    except MigrationRefusedError as error:
        raise MigrationRefusedError(f"{tenant}: {error}") from error
