"""Operators who take steps of tenants' lives by chance, all at once, and compare what comes."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import asyncpg

from support import lives
from support.careers import World
from support.steps_of_lives import SLUGS, Draw, Move, draw, move
from tenancy import Settings, provision
from tenancy.errors import TenancyError
from tenancy.provision import Administrator

CUT_SHARE, RIVAL_SHARE = 0.15, 0.15
MOST_STATEMENTS = 30  # after which a connection is cut
BROKEN = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
REFUSED_BELOW = 500
ACTIONS = {"make_read_only": "read_only"}

_NOW = """
    SELECT slug, id, schema_name, state, purge_begun_at IS NOT NULL AS begun
    FROM tenancy.tenants WHERE slug = ANY ($1)
"""


class Operators:
    """So many clients that take *steps* steps between them.

    Each has two connections: some steps are taken twice at once. Some are taken on a third, which
    is lost in the middle of them; then the registry says whether they have happened.
    """

    def __init__(self, world: World, settings: Settings, seed: int, steps: int) -> None:
        self._world = world
        self._settings = settings
        self._seed = seed
        self._left = iter(range(steps))
        self._middle = steps // 2
        self.half = asyncio.Event()

    async def populate(self, tenants: int) -> None:
        """Make the first tenants, one after another."""
        async with provision.administrator(self._settings) as admin:
            for slug in SLUGS[:tenants]:
                drawn = Draw("create", slug, slug, "", seconds=20)
                planned = move(self._world, drawn)
                self._compare(drawn, planned, await self._taken(admin, drawn, planned))
                await self._settle(drawn, planned)

    async def bury(self) -> None:
        """Delete and purge all who are left."""
        async with provision.administrator(self._settings) as admin:
            for slug in list(self._world.slugs):
                if not self._world.slugs[slug].begun:
                    await admin.delete(slug)
                await admin.purge(slug, early=True)

    async def run(self, clients: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._client())

    async def _client(self) -> None:
        async with AsyncExitStack() as stack:
            admins = [
                await stack.enter_async_context(provision.administrator(self._settings))
                for _ in range(2)
            ]
            for number in self._left:
                if number >= self._middle:
                    self.half.set()
                rng = random.Random(self._seed * 1_000_003 + number)
                drawn = draw(self._world, rng)
                async with self._world.holding(drawn.names):
                    await self._step(admins, drawn, rng)

    async def _step(self, admins: Sequence[Administrator], drawn: Draw, rng: random.Random) -> None:
        world = self._world
        life = world.slugs.get(drawn.slug)
        if life is not None:
            await world.quiet(life)
        planned = move(world, drawn)
        world.counts[drawn.step] += 1
        chance = rng.random()
        if planned.happened is not None and planned.refusal is None and chance < CUT_SHARE:
            await self._cut(drawn, planned, rng.randint(1, MOST_STATEMENTS))
        elif planned.refusal is None and chance > 1 - RIVAL_SHARE:
            results = await asyncio.gather(
                *(self._taken(admin, drawn, planned) for admin in admins)
            )
            self._compare_two(drawn, planned, results)
        else:
            self._compare(drawn, planned, await self._taken(admins[0], drawn, planned))
        await self._settle(drawn, planned)

    async def _taken(self, admin: Administrator, drawn: Draw, planned: Move) -> Any:
        """Take the step; return what it returns, or its error, and count the audit's rows."""
        action = ACTIONS.get(drawn.step, drawn.step)
        try:
            result = await planned.act(admin)
        except TenancyError as error:
            outcome = "refused" if error.status < REFUSED_BELOW else "failed"
            self._world.audit[action, outcome] += 1
            return error
        self._world.audit[action, "done"] += 1
        if drawn.step == "purge":
            self._world.audit[action, "begun"] += 1
        return result

    def _compare(self, drawn: Draw, planned: Move, result: Any) -> None:
        if planned.refusal is None and not isinstance(result, Exception):
            planned.done(result)
        elif planned.refusal is None or type(result) is not planned.refusal:
            self._fault(drawn, planned, result)

    def _compare_two(self, drawn: Draw, planned: Move, results: Sequence[Any]) -> None:
        self._world.counts["taken twice at once"] += 1
        won = [result for result in results if not isinstance(result, Exception)]
        lost = [result for result in results if isinstance(result, Exception)]
        if len(won) != (1 if planned.second else 2):
            self._fault(drawn, planned, *results)
        if any(type(error) not in planned.second for error in lost):
            self._fault(drawn, planned, *results)
        if won:
            planned.done(won[0])

    async def _cut(self, drawn: Draw, planned: Move, statements: int) -> None:
        """Take the step on a connection that is lost on the way, and look what has become of it."""
        world, action = self._world, ACTIONS.get(drawn.step, drawn.step)
        result: Any = None
        with suppress(*BROKEN):  # closing what is closed
            async with provision.administrator(self._settings) as admin:
                lives.cut_after(admin.connection, statements)
                try:
                    result = await planned.act(admin)
                except (*BROKEN, TenancyError) as error:
                    result = error
        if isinstance(result, Exception):
            world.counts["cut"] += 1
            world.loose[action, "failed"] += 1
        async with asyncio.timeout(60):
            now = await self._now(drawn)
        assert planned.happened is not None
        if drawn.step == "purge":
            world.loose[action, "begun"] += 1
        if planned.happened(now):
            world.audit[action, "done"] += 1
            planned.done(_Found(now[drawn.slug]) if drawn.step == "create" else None)
        elif not isinstance(result, Exception):
            self._fault(drawn, planned, "it was said to be done")
        elif drawn.step == "purge":
            world.slugs[drawn.slug].begun = now[drawn.slug]["begun"]

    async def _now(self, drawn: Draw) -> dict[str, Any]:
        async with provision.administrator(self._settings) as admin:
            rows = await admin.connection.fetch(_NOW, [drawn.slug, drawn.to])
            return {row["slug"]: row for row in rows}

    async def _settle(self, drawn: Draw, planned: Move) -> None:
        world = self._world
        hosts = [f"{drawn.slug}.example.com", *planned.also]
        for host in hosts:
            await world.settle(host)
        for slug in (drawn.slug, drawn.to):
            if (now := world.slugs.get(slug)) is not None:
                now.known = True

    def _fault(self, drawn: Draw, planned: Move, *results: object) -> None:
        due = planned.refusal.__name__ if planned.refusal else "success"
        self._world.faults.append(f"{drawn}: {results}, not {due}")


class _Found:
    """What `Administrator.create` would have returned."""

    def __init__(self, row: Any) -> None:
        self.tenant = self
        self.id, self.schema = row["id"], row["schema_name"]
