"""The scheduler of permits against a model: never too many, none lost, nobody starved."""

import asyncio
import random
import tracemalloc
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenancy.errors import PoolExhaustedError, TenancyError, TenantBusyError
from tenancy.fairness.permits import Permits


def permits(size: int = 10, **options: object) -> Permits:
    defaults = {"tenant_limit": None, "max_waiting": 1000, "timeout_seconds": 60.0}
    return Permits(size, **{**defaults, **options})  # type: ignore[arg-type]


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def take(given_out: Permits, whose: str, wanted: int) -> int:
    """Take up to *wanted* permits, as long as no wait is needed; return how many."""
    for taken in range(wanted):
        task = asyncio.create_task(given_out.acquire(whose))
        await turn()
        if not task.done():
            task.cancel()
            await turn()
            return taken
    return wanted


@pytest.mark.parametrize(("size", "share"), [(1, 1), (2, 1), (3, 2), (4, 2), (10, 5), (100, 50)])
async def test_one_tenant_alone_gets_half(size: int, share: int) -> None:
    assert await take(permits(size), "acme", size) == share


@pytest.mark.parametrize("floods", range(1, 10))
async def test_however_many_take_all_they_can_a_newcomer_is_served(floods: int) -> None:
    given_out = permits(10)
    held: Counter[str] = Counter()
    for _ in range(10):  # in turns: all of them grow at once
        for n in range(floods):
            held[f"flood {n}"] += await take(given_out, f"flood {n}", 1)
    assert max(held.values()) - min(held.values()) <= 1
    assert await take(given_out, "newcomer", 1) == 1


@pytest.mark.parametrize(
    ("of_all", "own", "expected"), [(3, None, 3), (None, 3, 3), (2, 4, 2), (4, 2, 2), (99, 99, 5)]
)
async def test_a_limit_lowers_what_the_rule_allows(
    of_all: int | None, own: int | None, expected: int
) -> None:
    given_out = permits(10, tenant_limit=of_all)
    tasks = [asyncio.create_task(given_out.acquire("acme", own)) for _ in range(9)]
    await turn()
    assert sum(task.done() for task in tasks) == expected
    for task in tasks:
        task.cancel()


async def test_a_freed_permit_goes_to_the_tenant_that_holds_the_fewest() -> None:
    given_out = permits(3)
    await given_out.acquire("flood")
    await given_out.acquire("flood")
    await given_out.acquire("other")
    order: list[str] = []

    async def wait(whose: str) -> None:
        await given_out.acquire(whose)
        order.append(whose)

    tasks = []
    for whose in ("flood", "flood", "other", "small", "newcomer"):
        tasks.append(asyncio.create_task(wait(whose)))
        await turn()
    for whose in ("flood", "flood", "other", "small"):
        given_out.release(whose)
        await turn()
    assert order == ["small", "newcomer", "flood", "other"]
    for task in tasks:
        task.cancel()


async def test_a_raised_limit_lets_a_waiter_in() -> None:
    given_out = permits(10)
    await given_out.acquire("acme", 1)
    waiter = asyncio.create_task(given_out.acquire("acme", 1))
    await turn()
    assert not waiter.done()
    await given_out.acquire("acme", 3)
    await turn()
    assert waiter.done()


async def test_the_wait_ends_at_the_deadline_with_the_right_reason() -> None:
    given_out = permits(2, timeout_seconds=0.05)
    await given_out.acquire("acme")
    with pytest.raises(TenantBusyError, match="holds 1 of 2"):
        await given_out.acquire("acme")
    await given_out.acquire("globex")
    with pytest.raises(PoolExhaustedError, match="TENANCY_POOL_MAX_SIZE"):
        await given_out.acquire("newcomer")
    assert given_out.waiting == 0
    assert set(given_out._shares) == {"acme", "globex"}


async def test_a_grant_after_the_deadline_is_none() -> None:
    given_out = permits(1, timeout_seconds=0.05)
    await given_out.acquire("acme")
    late = asyncio.create_task(given_out.acquire("globex"))
    await turn()
    given_out.release("acme")
    now = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < now + 0.06:
        pass  # a loop that is kept busy
    with pytest.raises(PoolExhaustedError):
        await late
    assert given_out.free == 1


async def test_the_queue_is_bounded_for_one_tenant_and_for_all() -> None:
    given_out = permits(2, max_waiting=8)
    await given_out.acquire("acme")
    await given_out.acquire("globex")
    waiting = [asyncio.create_task(given_out.acquire("acme")) for _ in range(4)]
    await turn()
    with pytest.raises(TenantBusyError):
        await given_out.acquire("acme")
    waiting += [asyncio.create_task(given_out.acquire(f"tenant {n}")) for n in range(4)]
    await turn()
    assert given_out.waiting == 8
    with pytest.raises(PoolExhaustedError, match="as many requests wait as may"):
        await given_out.acquire("newcomer")
    for task in waiting:
        task.cancel()
    await turn()
    assert given_out.waiting == 0
    assert set(given_out._shares) == {"acme", "globex"}


async def test_ten_thousand_tenants_that_have_gone_cost_nothing() -> None:
    given_out = permits(10)
    await _visit(given_out, range(100))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    await _visit(given_out, range(10_000))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not given_out._shares
    assert after - before < 100_000


async def _visit(given_out: Permits, numbers: range) -> None:
    for n in numbers:
        await given_out.acquire(f"tenant {n}")
        given_out.release(f"tenant {n}")


class Model:
    """Every request there is, and what must be true of all of them after each step."""

    def __init__(self, size: int, limits: list[int | None], max_waiting: int) -> None:
        self.size = size
        self.limits = limits
        self.given_out = permits(size, max_waiting=max_waiting)
        self.waiting: list[tuple[int, asyncio.Task[None]]] = []
        self.held: Counter[int] = Counter()

    def collect(self) -> None:
        """Move requests that were granted or refused out of those that wait."""
        left = []
        for tenant, task in self.waiting:
            if not task.done():
                left.append((tenant, task))
            elif not task.cancelled() and task.exception() is None:
                self.held[tenant] += 1
            elif not task.cancelled():
                assert isinstance(task.exception(), TenancyError)
        self.waiting = left

    def check(self) -> None:
        self.collect()
        held = self.held.total()
        free = self.size - held
        assert self.given_out.free == free >= 0
        assert self.given_out.waiting == len(self.waiting)
        for tenant, limit in enumerate(self.limits):
            assert self.held[tenant] <= (limit or self.size)
        for tenant, _ in self.waiting:  # nobody waits for what he may have
            limit = self.limits[tenant] or self.size
            assert self.held[tenant] >= min(limit, free), (tenant, self.held, free)
        there = {f"t{n}" for n, _ in self.waiting} | {f"t{n}" for n in self.held if self.held[n]}
        assert set(self.given_out._shares) == there

    def start(self, tenant: int) -> None:
        acquiring = self.given_out.acquire(f"t{tenant}", self.limits[tenant])
        self.waiting.append((tenant, asyncio.create_task(acquiring)))

    def stop(self, tenant: int) -> None:
        if self.held[tenant]:
            self.held[tenant] -= 1
            self.given_out.release(f"t{tenant}")

    def cancel(self, number: int) -> None:
        if self.waiting:
            self.waiting[number % len(self.waiting)][1].cancel()

    async def end(self) -> None:
        """End all that is at work until none waits: then nobody was starved and nothing is lost."""
        while self.waiting or self.held.total():
            assert self.held.total(), "some wait and nobody is at work"
            for tenant in list(self.held):
                self.stop(tenant)
            await turn()
            self.check()
        assert self.given_out.free == self.size
        assert not self.given_out._shares
        assert not any(self.given_out._ranks)


Steps = st.lists(
    st.tuples(st.sampled_from(["start", "start", "stop", "cancel", "turn"]), st.integers(0, 5)),
    max_size=120,
)


@given(
    size=st.integers(1, 8),
    limits=st.lists(st.none() | st.integers(1, 9), min_size=6, max_size=6),
    max_waiting=st.integers(1, 30),
    steps=Steps,
)
@settings(max_examples=300, deadline=None)
def test_no_permit_is_lost_or_given_twice_and_nobody_starves(
    size: int, limits: list[int | None], max_waiting: int, steps: list[tuple[str, int]]
) -> None:
    """Cancellations come between a grant and its receiver too: a step is not always a turn."""

    async def run() -> None:
        model = Model(size, limits, max_waiting)
        for action, number in steps:
            if action == "turn":
                await turn()
                model.check()
            else:
                model.collect()
                getattr(model, action)(number)
        await turn()
        model.check()
        await model.end()

    asyncio.run(run())


async def test_a_storm_loses_nothing(*, long: bool) -> None:
    """The same with real waits, deadlines and cancellations at any moment; a fixed seed."""
    rng = random.Random(3)
    given_out = permits(5, max_waiting=60, timeout_seconds=0.02)
    at_work: Counter[str] = Counter()
    seen: Counter[str] = Counter()

    async def request() -> None:
        whose = f"t{rng.randrange(8)}"
        await given_out.acquire(whose)
        at_work[whose] += 1
        assert at_work.total() <= 5
        assert at_work[whose] <= 3
        try:
            await asyncio.sleep(rng.random() * 0.004)
        finally:
            at_work[whose] -= 1
            given_out.release(whose)

    async def client() -> None:
        for _ in range(400 if long else 40):
            task = asyncio.create_task(request())
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.01)
                task.cancel()
            with suppress(asyncio.CancelledError):
                try:
                    await task
                    seen["served"] += 1
                except TenancyError as error:
                    seen[error.code] += 1

    await asyncio.gather(*(client() for _ in range(100)))
    print(dict(seen))
    assert seen["served"]
    assert seen["pool_exhausted"]
    assert (given_out.free, given_out.waiting, len(given_out._shares)) == (5, 0, 0)
