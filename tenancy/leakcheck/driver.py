"""Sends the requests of a run, phase by phase, and has everything looked at after each."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from typing import Any

from tenancy.leakcheck import client
from tenancy.leakcheck.calls import Answer, Call, Event, Ordeal
from tenancy.leakcheck.canaries import TENANTS
from tenancy.leakcheck.filling import Filler
from tenancy.leakcheck.ledger import Ledger
from tenancy.leakcheck.looking import Looker
from tenancy.leakcheck.options import Application, Options, Phase
from tenancy.leakcheck.planning import Planner
from tenancy.leakcheck.plants import PLANTS
from tenancy.leakcheck.scan import Scanner
from tenancy.leakcheck.views import View
from tenancy.leakcheck.watching import Watch, current

READY_SECONDS = 10.0
MAX_UNANSWERED = 3  # one after another
BATCH = 12
HUNG_UP_OF_BATCH = 4  # every fourth
LAST_LOOK_SECONDS = 0.3  # what the application does in the background comes late
MAX_AT = 4
QUIET_SECONDS = 1.0
NOT_READY = 503

# What is left of the requests after the first phase is shared out so.
_SHARES = {Phase.ERRORS: 0.2, Phase.CANCEL: 0.25, Phase.INTERLEAVE: 0.25, Phase.PLANTS: 0.3}


class Driver:
    """One run against a started application."""

    def __init__(  # noqa: PLR0913 - the parts of a run
        self,
        app: Application,
        state: dict[str, Any],
        *,
        options: Options,
        planner: Planner,
        filler: Filler,
        scanner: Scanner,
        looker: Looker,
        watch: Watch,
        ledger: Ledger,
        chance: random.Random,
    ) -> None:
        self._app = app
        self._state = state
        self._options = options
        self._planner = planner
        self._filler = filler
        self._scanner = scanner
        self._looker = looker
        self._watch = watch
        self._ledger = ledger
        self._chance = chance
        self._deadline = time.monotonic() + options.seconds
        self._limit = 0
        self._unanswered = 0

    async def ask(self, view: View) -> Answer:
        """Send one request outside of the books, until the application is ready for it."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            answer = await self._send(self._planner.call(view, 0))
            if answer.status != NOT_READY or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(0.05)

    async def run(self, views: list[View]) -> None:
        """Send all requests for *views*."""
        phases: dict[Phase, Callable[[list[View]], Any]] = {
            Phase.ALTERNATE: self._alternate,
            Phase.ERRORS: self._errors,
            Phase.CANCEL: self._cancel,
            Phase.INTERLEAVE: self._interleave,
            Phase.PLANTS: self._plants,
        }
        await self._looker.begin()
        for phase, rounds in phases.items():
            if phase in self._options.skipped or not views:
                continue
            if phase is not Phase.ALTERNATE:
                await self._filler.fill()  # what was deleted is there again
                self._limit = self._planner.count + self._share_of(phase)
            self._ledger.begin_rows(await self._scanner.scan())
            await rounds(views)
        await asyncio.sleep(LAST_LOOK_SECONDS)
        self._ledger.rows(await self._scanner.scan(), None)
        await self._looker.look(None)

    def _share_of(self, phase: Phase) -> int:
        """Return how many of the requests left are for *phase*."""
        left = max(self._options.count - self._planner.count, 0)
        ahead = list(_SHARES)[list(_SHARES).index(phase) :]
        total = sum(_SHARES[each] for each in ahead if each not in self._options.skipped)
        return round(left * _SHARES[phase] / total)

    # The phases

    async def _alternate(self, views: list[View]) -> None:
        for view in views:
            for tenant in (*TENANTS, *TENANTS):
                await self._serial(view, tenant)
        # What one view leaves behind, another one may find.
        await self._filler.fill()
        self._ledger.begin_rows(await self._scanner.scan())
        readers = itertools.cycle([view for view in views if view.is_safe] or views)
        for view, tenant in itertools.product(views, TENANTS):
            if self._unanswered < MAX_UNANSWERED:
                await self._serial(view, tenant)
                await self._serial(next(readers), 1 - tenant)

    async def _errors(self, views: list[View]) -> None:
        while self._goes_on():
            view, tenant = self._any(views), self._chance.choice(TENANTS)
            await self._serial(view, tenant, Ordeal(Event.ERROR, self._at()))
            await self._serial(view, 1 - tenant)

    async def _cancel(self, views: list[View]) -> None:
        while self._goes_on():
            view, tenant = self._any(views), self._chance.choice(TENANTS)
            event = self._chance.choice((Event.HANG_UP, Event.CANCEL))
            await self._serial(view, tenant, Ordeal(event, self._at()))
            await self._serial(view, 1 - tenant)

    async def _interleave(self, views: list[View]) -> None:
        while self._goes_on():
            await self._filler.fill()
            self._ledger.begin_rows(await self._scanner.scan())
            calls = self._batch(views)
            answers = await asyncio.gather(*map(self._send, calls))
            for call, answer in zip(calls, answers, strict=True):
                self._ledger.answered(call, answer)
            await self._looker.look(None)
            self._ledger.rows(await self._scanner.scan(), None)

    def _batch(self, views: list[View]) -> list[Call]:
        """Return requests of both tenants in any order, half of them for one view."""
        often = self._any(views)
        calls = []
        for number in range(BATCH):
            view = often if number < BATCH // 2 else self._any(views)
            hangs_up = number % HUNG_UP_OF_BATCH == HUNG_UP_OF_BATCH - 1
            ordeal = Ordeal(Event.HANG_UP, self._at()) if hangs_up else None
            calls.append(self._planner.call(view, number % 2, ordeal))
        self._chance.shuffle(calls)
        return calls

    async def _plants(self, views: list[View]) -> None:
        plants: list[str] = []
        while self._goes_on():
            plants = plants or self._chance.sample(PLANTS, len(PLANTS))
            view, tenant = self._any(views), self._chance.choice(TENANTS)
            await self._serial(view, tenant, Ordeal(Event.PLANT, 1, plants.pop()))
            await self._serial(view, 1 - tenant)
            await self._serial(self._any([v for v in views if v.is_safe] or views), 1 - tenant)
            await self._looker.forget()  # what was planted must not be found again

    # Their parts

    async def _serial(self, view: View, tenant: int, ordeal: Ordeal | None = None) -> None:
        """Send one request, alone, and look at its answer, the connections and the rows."""
        call = self._planner.call(view, tenant, ordeal)
        answer = await self._send(call)
        self._ledger.answered(call, answer)
        self._unanswered = self._unanswered + 1 if answer.is_silence else 0
        await self._looker.look(call)
        if call.happened:
            await self._scanner.quiet(self._watch.open, QUIET_SECONDS)
        if not view.is_safe:
            self._ledger.rows(await self._scanner.scan(), call)

    async def _send(self, call: Call) -> Answer:
        token = current.set(call)
        try:
            return await client.send(self._app, call, self._state, self._options.timeout_seconds)
        finally:
            current.reset(token)

    def _any(self, views: list[View]) -> View:
        return self._chance.choice(views)

    def _at(self) -> int:
        return self._chance.randint(1, MAX_AT)

    def _goes_on(self) -> bool:
        if self._unanswered >= MAX_UNANSWERED:
            self._ledger.report.cut_short = (
                f"the application no longer answers, up to request #{self._planner.count}"
            )
        elif time.monotonic() > self._deadline:
            self._ledger.report.cut_short = "the time was up: raise --seconds, or lower --requests"
        if self._ledger.report.cut_short:
            return False
        return self._planner.count < self._limit
