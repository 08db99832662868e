"""Workers side by side, each with a connection, who have a grace when they are told to stop."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import TypeVar

from tenancy.migrate.fleet.brake import Brake
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

Item = TypeVar("Item")


class Crew:
    """The connections of a run, which outlive its waves; use `crew`."""

    def __init__(self, settings: Settings, brake: Brake) -> None:
        self._settings = settings
        self._brake = brake
        self._sessions: list[Session] = []

    async def each(
        self,
        queue: deque[Item],
        hands: int,
        grace_seconds: float,
        work: Callable[[Session, Item], Awaitable[None]],
    ) -> None:
        """Do *work* on every item of *queue*, *hands* at a time, until it is empty or told to stop.

        *queue* may change meanwhile. An error cancels the others and is raised, for it is no error
        of a tenant's.
        """

        async def worker(session: Session) -> None:
            while queue and not self._brake.on:
                try:
                    await work(session, queue.popleft())
                except BaseException:
                    session.discard()  # its state is not known
                    raise
                await session.recycle()

        hands = min(hands, len(queue))
        while len(self._sessions) < hands:
            self._sessions.append(Session(self._settings))
        await until_done(
            [worker(session) for session in self._sessions[:hands]],
            self._brake.hurry,
            grace_seconds,
        )

    async def close(self) -> None:
        """Close the connections, all at once."""
        sessions, self._sessions = self._sessions, []
        await asyncio.gather(*(session.__aexit__(None, None, None) for session in sessions))


@contextlib.asynccontextmanager
async def crew(settings: Settings, brake: Brake) -> AsyncIterator[Crew]:
    """Yield a crew, whose connections are closed with the block."""
    made = Crew(settings, brake)
    try:
        yield made
    finally:
        await made.close()


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
