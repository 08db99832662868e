"""The tenants of a run: canary, waves, and whoever appears meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

from tenancy.migrate.files.model import Stage
from tenancy.migrate.fleet import phases, waves
from tenancy.migrate.fleet.amounts import Amount
from tenancy.migrate.fleet.context import Context
from tenancy.migrate.fleet.policy import StopRule
from tenancy.migrate.fleet.standing import is_workable, unworkable
from tenancy.migrate.fleet.wave import WaveUpgrade
from tenancy.migrate.ledger import runs, work
from tenancy.migrate.ledger.work import Work
from tenancy.migrate.plan.steps import Step
from tenancy.migrate.report.events import Started, WaveBegun, WaveEnded


@dataclass(slots=True)
class Rollout:
    """Leads the tenants of a run through their waves.

    Attributes:
        stored: a list that was made before, by this run or by the one that it goes on with.
        listed: how much of it is this run's own.
    """

    context: Context
    run_id: UUID
    command: str = "up"
    stored: Sequence[Work] = ()
    listed: int = 0
    _rule: StopRule = field(init=False)
    _seen: set[tuple[str, int | None]] = field(default_factory=set)

    async def go(self) -> None:
        """Bring up all tenants that are behind, and look again until nobody is."""
        fresh = await self._fresh()
        planned = self._planned(fresh)
        self._rule = rule(self.context, len(fresh))
        self.context.tally.tell(Started(self.run_id, self.command, len(fresh), len(planned)))
        while planned and not self.context.brake.on:
            self.context.tally.left = len(fresh)
            await self._store(planned)
            del fresh  # what they need is asked for again, wave by wave
            numbers = [number for number, _ in planned]
            for number, steps in planned:
                await self._wave(number, [one.schema_oid for one in steps], last=numbers[-1])
            fresh = await self._fresh()
            planned = [(numbers[-1] + 1, _works(fresh, numbers[-1] + 1))] if fresh else []

    async def _fresh(self) -> list[Step]:
        """Return the tenants that are behind and were not seen yet; note those that stay so."""
        steps = await self.context.behind(Stage.TENANT)
        fresh = [step for step in steps if step.standing.key not in self._seen]
        self._seen.update(step.standing.key for step in fresh)
        for step in fresh:
            if not is_workable(step):
                self.context.tally.note(unworkable(step))
        return [step for step in fresh if is_workable(step)]

    def _planned(self, fresh: Sequence[Step]) -> list[tuple[int, list[Work]]]:
        """Return the waves of *fresh*, in the stored order where there is one."""
        options = self.context.options
        if not self.stored:
            size = Amount.parse(options.wave_size) if options.wave_size else None
            return [
                (wave.number, _works(wave.steps, wave.number))
                for wave in waves.cut(fresh, options.canary, size)
            ]
        behind = {step.standing.oid for step in fresh}
        known = {one.schema_oid for one in self.stored}
        planned: dict[int, list[Work]] = {}
        for one in self.stored:
            if one.schema_oid in behind:
                planned.setdefault(one.wave, []).append(one)
        late = [step for step in fresh if step.standing.oid not in known]
        if late:
            number = max(one.wave for one in self.stored) + 1
            planned[number] = _works(late, number)
        return sorted(planned.items())

    async def _store(self, planned: Sequence[tuple[int, Sequence[Work]]]) -> None:
        has = {one.schema_oid for one in self.stored[: self.listed]}
        every = (one for _, steps in planned for one in steps if one.schema_oid not in has)
        listed = [
            one._replace(position=position) for position, one in enumerate(every, self.listed)
        ]
        self.listed += len(listed)
        await self.context.control.read(lambda conn: work.append(conn, self.run_id, listed))

    async def _wave(self, number: int, oids: Sequence[int], *, last: int) -> None:
        """Bring up one wave, then soak where it is not the *last* one."""
        context = self.context
        if context.brake.on:
            return
        started = monotonic()
        steps = await context.behind_of(oids)
        context.tally.left -= len(oids) - len(steps)
        if not steps:
            return
        await context.control.read(lambda conn: runs.open_wave(conn, self.run_id, number))
        parts = phases.split(step.position.pending for step in steps)
        context.tally.tell(WaveBegun(number, len(steps), tuple(part.until for part in parts)))
        wave = WaveUpgrade(context, self._rule, canary=number == 0)
        await wave.go(steps)
        soak = 0.0 if number == last or context.brake.on else context.options.soak_seconds
        context.tally.tell(WaveEnded(number, len(wave.failed), monotonic() - started, soak))
        if soak:
            await context.brake.pause(soak)


def rule(context: Context, total: int) -> StopRule:
    """Return the rule for failures among *total* schemas."""
    limit = context.options.max_failures
    return StopRule(Amount.parse(limit) if limit is not None else None, total)


def _works(steps: Sequence[Step], wave: int) -> list[Work]:
    return [Work(0, wave, step.standing.oid or 0, step.standing.name) for step in steps]
