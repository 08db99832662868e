"""One wave: its schemas side by side, part by part of their files, until none of them is behind.

After each part the ledger is asked again and believed: other runners may share the run.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tenancy.migrate.fleet import phases
from tenancy.migrate.fleet.context import Context
from tenancy.migrate.fleet.phases import Phase
from tenancy.migrate.fleet.policy import StopRule
from tenancy.migrate.fleet.standing import is_workable
from tenancy.migrate.fleet.upgrading import Upgrader, upgrader
from tenancy.migrate.ledger.records import Failure
from tenancy.migrate.plan.steps import Step
from tenancy.migrate.report.outcomes import Outcome, Result
from tenancy.migrate.upgrade.session import Session


@dataclass(slots=True)
class WaveUpgrade:
    """The upgrade of the schemas of one wave.

    Attributes:
        canary: a failure in it stops the run.
        shuffled: begin anywhere: another runner has begun at the front.
        failed: the oids of those that failed, with whichever runner.
    """

    context: Context
    rule: StopRule
    canary: bool = False
    shuffled: bool = False
    failed: set[int] = field(default_factory=set)
    _upgrader: Upgrader = field(init=False)
    _queue: deque[Step] = field(default_factory=deque)
    _parts: dict[int, Result] = field(default_factory=dict)
    _tried: set[tuple[int, str]] = field(default_factory=set)
    _before: dict[int, Failure] = field(default_factory=dict)
    _refreshing: bool = False

    def __post_init__(self) -> None:
        self._upgrader = upgrader(self.context)

    async def go(self, steps: Sequence[Step]) -> bool:
        """Bring up the schemas of *steps*, listed just now; return whether any was to be tried."""
        oids = [_oid(step) for step in steps]
        self._before = {
            _oid(step): step.standing.failure for step in steps if step.standing.failure
        }
        while (todo := self._todo(steps)) and not self.context.brake.on:
            phase = phases.split(step.position.pending for step in todo)[0]
            await self._phase(phase, todo)
            steps = await self.context.behind_of(oids)
        for oid in list(self._parts):
            self._end(oid, self._parts.pop(oid))
        return bool(self._tried)

    def _todo(self, steps: Sequence[Step]) -> list[Step]:
        """Return those of *steps* that have not failed in this run."""
        run_id = self.context.run_id
        for step in steps:
            failure, oid = step.standing.failure, _oid(step)
            if failure is not None and failure.run_id == run_id and oid not in self.failed:
                self._failed(oid, _elsewhere(step, failure))
        return [step for step in steps if is_workable(step) and _oid(step) not in self.failed]

    async def _phase(self, phase: Phase, todo: Sequence[Step]) -> None:
        options = self.context.options
        # What another runner was at was not tried. What was, and stays behind, never moves.
        stuck = {oid for oid in map(_oid, todo) if (oid, phase.until) in self._tried}
        self.failed |= stuck
        self._queue = deque(
            step
            for step in todo
            if _oid(step) not in stuck and phase.concerns(step.position.pending)
        )
        if self.shuffled:
            random.shuffle(self._queue)

        async def work(session: Session, step: Step) -> None:
            await self._upgrade(session, step, phase)

        hands = options.parallel if phase.transactional else options.parallel_concurrent
        await self.context.crew.each(self._queue, hands, options.grace_seconds, work)

    async def _upgrade(self, session: Session, step: Step, phase: Phase) -> None:
        oid = _oid(step)
        result = await self._upgrader.upgraded(session, step, phase.until)
        if result is None:
            return
        self._tried.add((oid, phase.until))
        stale = result.outcome is Outcome.CURRENT
        part = self._parts.pop(oid, None)
        if part is not None:
            result = _together(part, result)
        goes_on = result.outcome in {Outcome.APPLIED, Outcome.CURRENT}
        if goes_on and step.position.pending[-1].version > phase.until:
            self._parts[oid] = result
        else:
            self._end(oid, result)
        if stale:
            await self._refresh(phase)

    def _end(self, oid: int, result: Result) -> None:
        if result.outcome is Outcome.CURRENT:
            self.context.tally.skip()  # it is in the report of the one that brought it up
            return
        self.context.tally.note(result)
        self._failed(oid, result)

    def _failed(self, oid: int, result: Result) -> None:
        if result.faulty:
            self.failed.add(oid)
        again = _alike(result.failure, self._before.get(oid))
        reason = self.rule.seen(result, canary=self.canary, again=again)
        if reason:
            self.context.brake.stop(reason)

    async def _refresh(self, phase: Phase) -> None:
        """Drop from the queue what other runners have brought up meanwhile."""
        if self._refreshing or not self._queue:
            return
        self._refreshing = True
        asked = {_oid(step) for step in self._queue}
        try:
            steps = await self.context.behind_of(list(asked))
        finally:
            self._refreshing = False
        left = {_oid(step) for step in steps if phase.concerns(step.position.pending)}
        queued = list(self._queue)
        self._queue.clear()  # workers hold this very queue
        for step in queued:
            if _oid(step) in left or _oid(step) not in asked:
                self._queue.append(step)
            else:
                self.context.tally.skip()


def _oid(step: Step) -> int:
    return step.standing.oid or 0  # a schema that can be worked on has one


def _together(part: Result, result: Result) -> Result:
    """Return what came of a schema in two parts."""
    outcome = Outcome.APPLIED if result.outcome is Outcome.CURRENT else result.outcome
    return replace(
        result,
        outcome=outcome,
        applied=part.applied + result.applied,
        seconds=part.seconds + result.seconds,
    )


def _alike(failure: Failure | None, before: Failure | None) -> bool:
    if failure is None or before is None:
        return False
    return (failure.version, failure.sqlstate) == (before.version, before.sqlstate)


def _elsewhere(step: Step, failure: Failure) -> Result:
    """Return the failure of *step* that another runner of the same run has reported."""
    standing = step.standing
    return Result(standing.stage, standing.name, standing.tenant, Outcome.FAILED, failure=failure)
