"""The process that leads a run: catalog, then the shared schema, then every tenant."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

import asyncpg

from tenancy.identifiers import CATALOG_SCHEMA
from tenancy.migrate.files.model import Migration, Stage
from tenancy.migrate.fleet.context import Context
from tenancy.migrate.fleet.rollout import Rollout
from tenancy.migrate.fleet.standing import is_workable, unworkable
from tenancy.migrate.fleet.upgrading import upgrader
from tenancy.migrate.ledger import runs, work
from tenancy.migrate.ledger.work import Work
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Step, Survey
from tenancy.migrate.plan.survey import refuse_changed
from tenancy.migrate.report.outcomes import Ending, Outcome, Report, Result
from tenancy.migrate.upgrade import aside, modules
from tenancy.migrate.upgrade.catalog import make_catalog, make_shared
from tenancy.migrate.upgrade.session import Session

LAST_WORDS_SECONDS = 2.0


@dataclass(slots=True)
class Leader:
    """The process that leads a run, under the run's lock."""

    context: Context
    command: str = "up"
    resumed: UUID | None = None

    async def go(self, found: Survey, stored: Sequence[Work] = ()) -> Report:
        """Bring up what *found* says is behind, in the order of a *stored* list if there is one.

        Raises:
            MigrationRefusedError: a file was changed after it was applied; nothing was applied.
        """
        started = monotonic()
        refuse_changed(found)
        modules.require(one for step in found.steps for one in step.position.pending)
        await self._make_schemas(found)
        await self._stage(Stage.CATALOG)  # the ledger of a run needs it
        if self.context.tally.faulty or self.context.brake.on:
            return await report(self.context, started)
        run_id = await self._begin()
        return await self.finish(Rollout(self.context, run_id, self.command, stored), started)

    async def finish(self, rollout: Rollout, started: float) -> Report:
        """Bring up all that comes after the catalog, and note how the run ended."""
        context = self.context
        try:
            await self._stage(Stage.SHARED)
            if not context.tally.faulty and not context.brake.on:
                async with aside.reports(context.control.read, self._files):
                    await rollout.go()
            done = await report(context, started)
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            await self._last_words(
                rollout.run_id, Ending.INTERRUPTED if cancelled else Ending.FAILED
            )
            raise
        await context.control.read(lambda conn: _end(conn, rollout.run_id, done.ending))
        return done

    async def _make_schemas(self, found: Survey) -> None:
        """Make the catalog and the shared schema where there are none."""
        context, started = self.context, monotonic()
        async with Session(context.settings) as session:
            if found.empty:
                versions = tuple(await make_catalog(session, context.files.catalog))
                outcome = Outcome.APPLIED if versions else Outcome.CURRENT
                seconds = monotonic() - started
                context.tally.note(
                    Result(Stage.CATALOG, CATALOG_SCHEMA, None, outcome, versions, seconds=seconds)
                )
            if found.lacks_shared:
                await make_shared(session, context.settings.shared_schema)

    async def _stage(self, stage: Stage) -> None:
        """Bring up the one schema of *stage*."""
        context = self.context
        one = upgrader(context)

        async def work(session: Session, step: Step) -> None:
            result = None
            while result is None and not context.brake.on:
                result = await one.upgraded(session, step)
            if result is not None:
                context.tally.note(result)

        steps = [] if context.brake.on else await context.behind(stage)
        for step in steps:
            if not is_workable(step):
                context.tally.note(unworkable(step))
        workable = deque(filter(is_workable, steps))
        await context.crew.each(workable, 1, context.options.grace_seconds, work)

    async def _files(self) -> Iterable[Migration]:
        """Return the files that are pending for tenants."""
        steps = await self.context.behind(Stage.TENANT)
        return {one for files in {step.position.pending for step in steps} for one in files}

    async def _begin(self) -> UUID:
        context = self.context
        run_id = await context.control.read(
            lambda conn: runs.start_run(
                conn, self.command, context.options.to_json(), context.files.digest, self.resumed
            )
        )
        context.control.run_id = run_id
        return run_id

    async def _last_words(self, run_id: UUID, ending: Ending) -> None:
        with contextlib.suppress(Exception):  # what ended the run matters more
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self.context.control.read(lambda conn: runs.finish_run(conn, run_id, ending))


async def report(context: Context, started: float) -> Report:
    """Return what came of the run, with how many schemas it leaves behind.

    Raises:
        Exception: what made going on impossible.
    """
    tally, brake = context.tally, context.brake
    if brake.error is not None:
        raise brake.error
    tried = {(result.stage, result.schema) for result in tally.results if result.faulty}
    pending = (await context.pending()).of(Verdict.BEHIND)
    left = sum((step.standing.stage, step.standing.name) not in tried for step in pending)
    return Report(
        context.run_id,
        tuple(tally.results),
        monotonic() - started,
        left,
        interrupted=brake.interrupted,
        stopped=brake.reason if left else "",
        strict_shape=context.options.strict_shape,
    )


async def _end(conn: asyncpg.Connection, run_id: UUID, ending: Ending) -> None:
    await runs.finish_run(conn, run_id, ending)
    if not ending.cut_short:
        await work.forget(conn)
