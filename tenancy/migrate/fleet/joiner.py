"""A process that shares the work of a run which another one leads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from time import monotonic

import asyncpg

from tenancy.errors import MigrationRefusedError, TenancyError
from tenancy.migrate.fleet.context import Context
from tenancy.migrate.fleet.leader import Leader, report
from tenancy.migrate.fleet.options import Options
from tenancy.migrate.fleet.policy import StopRule
from tenancy.migrate.fleet.rollout import Rollout, rule
from tenancy.migrate.fleet.wave import WaveUpgrade
from tenancy.migrate.ledger import checkpoints, runs, work
from tenancy.migrate.ledger.runs import Run
from tenancy.migrate.report.events import Started
from tenancy.migrate.report.outcomes import Ending, Report
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.lock import RunLockHeldError

POLL_SECONDS = 0.5
_CUT_SHORT = {Ending.INTERRUPTED, Ending.STOPPED}


@dataclass(slots=True)
class Joiner:
    """Works on the wave that the leader has opened, and leads where the leader is gone.

    Every schema is brought up once: its lock and its ledger see to that.
    """

    context: Context
    _failed: set[int] = field(default_factory=set)

    async def go(self) -> Report:
        """Work until nothing is left; return what this process has done.

        Raises:
            MigrationRefusedError: the run that is under way has other files.
        """
        started = monotonic()
        context = self.context
        run = await self._found()
        if run is None and not context.brake.on:
            return await Leader(context).go(await context.survey())
        if run is not None:
            self._follow(run)
            async with self._listening(run):
                if await self._worked(run):
                    return await self._led(run, started)
        return await report(context, started)

    async def _found(self) -> Run | None:
        """Return the run under way, once it is known; None: it has ended, or this one has to."""
        while not self.context.brake.on:
            run = await self.context.control.read(_under_way)
            if run is not None or await self._leads():
                return run
            await self.context.brake.pause(POLL_SECONDS)
        return None

    async def _leads(self) -> bool:
        """Whether the lock of the run was free; it is this one's now."""
        try:
            await self.context.control.lead()
        except RunLockHeldError:
            return False
        return True

    def _follow(self, run: Run) -> None:
        """Take over what is to be done, but not how much at a time."""
        context = self.context
        if run.digest != context.files.digest:
            raise MigrationRefusedError(
                f"run {run.id}, which is under way, has other files than these: wait for its end"
            )
        own = context.options
        context.options = replace(
            Options.from_json(run.options),
            parallel=own.parallel,
            parallel_concurrent=own.parallel_concurrent,
            grace_seconds=own.grace_seconds,
            join=True,
        )
        context.control.run_id = run.id
        context.tally.tell(Started(run.id, "join", 0, 0))

    async def _worked(self, run: Run) -> bool:
        """Work until the run has ended; return whether that is left to this process."""
        rule_ = rule(self.context, 0)
        while not self.context.brake.on:
            now = await self._now(run)
            if now.outcome is not None:
                return False
            if not await self._wave(now, rule_):
                if await self._leads():
                    return (await self._now(run)).outcome is None
                await self.context.brake.pause(POLL_SECONDS)
        return False

    async def _wave(self, run: Run, rule_: StopRule) -> bool:
        """Work on the wave that is open; return whether there was anything to do."""
        context, number = self.context, run.wave
        if number is None:
            return False
        oids = await context.control.read(lambda conn: work.of_wave(conn, run.id, number))
        steps = await context.behind_of(oids)
        rule_.total = max(rule_.total, len(oids))
        context.tally.left = len(steps)
        wave = WaveUpgrade(context, rule_, canary=number == 0, shuffled=True, failed=self._failed)
        return await wave.go(steps)

    async def _led(self, run: Run, started: float) -> Report:
        """Lead the run, whose leader has been killed, to its end."""
        stored = await self.context.control.read(lambda conn: work.of_run(conn, run.id))
        rollout = Rollout(self.context, run.id, run.command, stored, len(stored))
        return await Leader(self.context).finish(rollout, started)

    async def _now(self, run: Run) -> Run:
        found = await self.context.control.read(lambda conn: runs.read_run(conn, run.id))
        if found is None:
            raise MigrationRefusedError(f"run {run.id} is not in the ledger any more")
        return found

    @contextlib.asynccontextmanager
    async def _listening(self, run: Run) -> AsyncIterator[None]:
        """Begin no more schemas when the leader does not either."""

        async def listen() -> None:
            while not self.context.brake.on:
                await asyncio.sleep(POLL_SECONDS)
                with contextlib.suppress(TenancyError, asyncpg.PostgresError, OSError):
                    outcome = (await self._now(run)).outcome
                    if outcome in _CUT_SHORT:
                        self.context.brake.stop(f"the run that was joined was {outcome}")

        listener = asyncio.create_task(listen())
        try:
            yield
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)


async def _under_way(conn: asyncpg.Connection) -> Run | None:
    process = await lock.holder_process(conn, lock.RUN)
    if process is None or not await checkpoints.exists(conn):
        return None
    return await runs.led_by(conn, process)
