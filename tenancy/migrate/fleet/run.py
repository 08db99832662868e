"""Runs, as they are begun: all that is pending, what an earlier run left, somebody else's run."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from uuid import UUID

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.folder import load_all
from tenancy.migrate.fleet.brake import Brake
from tenancy.migrate.fleet.context import Context
from tenancy.migrate.fleet.control import Control
from tenancy.migrate.fleet.crew import crew
from tenancy.migrate.fleet.options import Options
from tenancy.migrate.fleet.standing import unworkable
from tenancy.migrate.fleet.tally import Observe, Tally, Watch
from tenancy.migrate.ledger import checkpoints, runs, work
from tenancy.migrate.ledger.runs import Run
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Survey
from tenancy.migrate.report.outcomes import Report
from tenancy.migrate.upgrade.lock import RunLockHeldError
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings


async def up(  # noqa: PLR0913 - what the options are made of, by name
    settings: Settings,
    options: Options | None = None,
    *,
    parallel: int | None = None,
    tenants: Sequence[str] | None = None,
    grace_seconds: float | None = None,
    stop: asyncio.Event | None = None,
    watch: Watch | None = None,
    observe: Observe | None = None,
) -> Report:
    """Bring every schema to what the files say; one that fails does not stop the others.

    Cancelling rolls back what is under way. What has been applied stays, and is not done again.

    Args:
        settings: where the database and the files are.
        options: how; see `Options`.
        parallel: instead of that of *options*.
        tenants: instead of those of *options*.
        grace_seconds: instead of those of *options*.
        stop: set it to begin no more schemas; the report is then interrupted.
        watch: called with each result, and with how many schemas are known to be left.
        observe: called with each event of the run (``tenancy.migrate.report.events``).

    Raises:
        InvalidOptionsError: an option cannot be followed.
        MigrationFileError: a file is refused; the database was not touched.
        MigrationRefusedError: a file was changed after it was applied; nothing was applied. Or the
            run that was to be joined has other files.
        RunLockHeldError: another run is migrating this database, and is not to be joined.
        UnknownTenantError: the options mean a tenant that is not there, or none.
        UnknownVersionError: no file has the version that is the target.
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: it cannot be reached or used.
    """
    given = {"parallel": parallel, "tenants": tenants, "grace_seconds": grace_seconds}
    named = {name: value for name, value in given.items() if value is not None}
    options = replace(options or Options(), **named)  # type: ignore[arg-type]
    started = monotonic()
    async with _context(settings, options, stop, Tally(watch, observe)) as context:
        found = await context.survey()
        if _nothing_pending(found):
            return _nothing(context, found, started)
        try:
            await context.control.lead()
        except RunLockHeldError:
            if not options.join:
                raise
            from tenancy.migrate.fleet.joiner import Joiner  # noqa: PLC0415 - as Leader

            return await Joiner(context).go()
        # Only now: a run that finds nothing pending takes as long as its imports.
        from tenancy.migrate.fleet.leader import Leader  # noqa: PLC0415

        return await Leader(context).go(await context.survey())


async def resume(
    settings: Settings,
    run_id: UUID | None = None,
    *,
    stop: asyncio.Event | None = None,
    watch: Watch | None = None,
    observe: Observe | None = None,
) -> Report:
    """Go on with a run that was killed, interrupted or stopped: its options, its order, its waves.

    Args:
        settings: where the database and the files are.
        run_id: which run; None: the last one that is unfinished.
        stop: as `up`.
        watch: as `up`.
        observe: as `up`.

    Raises:
        MigrationRefusedError: there is no such run, or its files were others.
        MigrationError: as `up`.
    """
    tally = Tally(watch, observe)
    async with _context(settings, Options(), stop, tally) as context:
        await context.control.lead()
        run = await context.control.read(lambda conn: _unfinished(conn, run_id))
        if run.digest != context.files.digest:
            raise MigrationRefusedError(
                f"the files have changed since run {run.id}, whose order goes with them: "
                "begin a new one with `up`, which does what is pending"
            )
        context.options = replace(Options.from_json(run.options), join=False)
        stored = await context.control.read(lambda conn: work.of_run(conn, run.id))
        from tenancy.migrate.fleet.leader import Leader  # noqa: PLC0415 - as above

        return await Leader(context, "resume", run.id).go(await context.pending(), stored)


@asynccontextmanager
async def _context(
    settings: Settings, options: Options, stop: asyncio.Event | None, tally: Tally
) -> AsyncIterator[Context]:
    """Yield what a run needs; its connections are closed with the block."""
    files = load_all(settings)
    brake = Brake(stop)
    async with Session(settings) as session, brake.listening():
        control = Control(session, brake)
        async with control.watched(), crew(settings, brake) as workers:
            yield Context(settings, files, options, control, brake, tally, workers)


def _nothing_pending(found: Survey) -> bool:
    ahead = all(step.position.verdict is Verdict.AHEAD for step in found.steps)
    return ahead and not found.empty and not found.lacks_shared


def _nothing(context: Context, found: Survey, started: float) -> Report:
    """Return the report of a run that was none: it changes nothing, not even the ledger."""
    for step in found.steps:
        context.tally.note(unworkable(step))
    return Report(None, tuple(context.tally.results), monotonic() - started)


async def _unfinished(conn: asyncpg.Connection, run_id: UUID | None) -> Run:
    """Return the run to go on with.

    Raises:
        MigrationRefusedError: there is none.
    """
    if not await checkpoints.exists(conn):
        raise MigrationRefusedError("there is nothing to resume: nothing was applied yet")
    if run_id is None:
        words = "there is nothing to resume: the last run came to its end"
        try:
            found = await runs.last_unfinished(conn)
        except asyncpg.UndefinedColumnError:
            found, words = None, "the last run was of an older build, which kept no list: use `up`"
    else:
        found = await runs.read_run(conn, run_id)
        words = f"there is no run {run_id}: `status` names the last one"
    if found is None:
        raise MigrationRefusedError(words)
    if not found.unfinished:
        raise MigrationRefusedError(f"run {found.id} came to its end: it is {found.outcome}")
    return found
