"""Workers side by side, who are given a grace when they are told to stop."""

import asyncio
from collections.abc import Coroutine, Sequence


async def until_done(
    work: Sequence[Coroutine[None, None, None]], stop: asyncio.Event, grace_seconds: float
) -> None:
    """Run *work* to its end; what has not ended *grace_seconds* after *stop* is cancelled.

    An error of one cancels the others and is raised, for it is no error of a tenant's.
    """
    if not work:
        return
    workers = [asyncio.create_task(one) for one in work]
    ender = asyncio.create_task(_end(workers, stop, grace_seconds))
    try:
        await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in (*workers, ender):
            task.cancel()
        await asyncio.gather(*workers, ender, return_exceptions=True)
    for worker in workers:
        if not worker.cancelled():
            worker.result()


async def _end(
    workers: Sequence[asyncio.Task[None]], stop: asyncio.Event, grace_seconds: float
) -> None:
    await stop.wait()
    await asyncio.sleep(grace_seconds)
    for worker in workers:
        worker.cancel()
