"""Cancel a coroutine at a chosen one of its await points."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


class Stepped:
    """An awaitable that runs *coroutine* and calls *hit* at each of its suspensions, numbered.

    A suspension is where the event loop gets control: the only places at which a task can be
    cancelled.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, Result], hit: Callable[[int], object]
    ) -> None:
        self._coroutine = coroutine
        self._hit = hit
        self.points = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                if error is not None:
                    future = self._coroutine.throw(error)
                else:
                    future = self._coroutine.send(value)
            except StopIteration as stop:
                return stop.value
            self.points += 1
            self._hit(self.points)
            value, error = None, None
            try:
                value = yield future
            except BaseException as thrown:
                error = thrown


async def points_of(coroutine: Coroutine[Any, Any, object]) -> int:
    """Run *coroutine* to its end; return how many await points it came by."""
    stepped = Stepped(coroutine, lambda _: None)
    await stepped
    return stepped.points


async def cancelled_at(
    coroutine: Coroutine[Any, Any, Result], point: int, times: int, delay_seconds: float | None
) -> Result:
    """Run *coroutine* in a task that is cancelled at its await point number *point*.

    Args:
        coroutine: what to run.
        point: from 1 on; where there is none of that number it is not cancelled.
        times: cancelled again at each of the following points, so often in all.
        delay_seconds: None: at the point itself, before what it waits for can happen; else so long
            after it, when that may have happened, or the coroutine be elsewhere already.
    """
    left = times
    task: asyncio.Task[Result]

    def hit(number: int) -> None:
        nonlocal left
        if number < point or not left:
            return
        left -= 1
        if delay_seconds is None:
            task.cancel()
        else:
            asyncio.get_running_loop().call_later(delay_seconds, task.cancel)

    async def run() -> Result:
        result: Result = await Stepped(coroutine, hit)
        return result

    task = asyncio.create_task(run())
    return await task
