"""What ends a run before its end: a signal, too many failures, a lock that was lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Brake:
    """Says that no more schemas are begun, and why.

    Attributes:
        interrupted: the caller asked for it.
        reason: why the rule for failures did; empty: it did not.
        error: that made going on impossible.
        pulled: set where no more schemas are begun; a backfill then ends between two batches.
        hurry: set where those under way have only a grace left.
    """

    def __init__(self, stop: asyncio.Event | None = None) -> None:
        self.reason = ""
        self.error: Exception | None = None
        self.hurry = asyncio.Event()
        self._stop = stop or asyncio.Event()
        self.pulled = asyncio.Event()

    @property
    def interrupted(self) -> bool:
        """Whether the caller has asked to stop."""
        return self._stop.is_set()

    @property
    def on(self) -> bool:
        """Whether no more schemas are begun."""
        return self.pulled.is_set() or self._stop.is_set()

    def stop(self, reason: str) -> None:
        """Begin no more; those under way go on to their end."""
        self.reason = self.reason or reason
        self.pulled.set()

    def fail(self, error: Exception) -> None:
        """Begin no more because of *error*; those under way have the grace."""
        self.error = self.error or error
        self.pulled.set()
        self.hurry.set()

    async def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the moment from which no more schemas are begun."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.pulled.wait()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Follow the caller's event while the block runs."""

        async def follow() -> None:
            await self._stop.wait()
            self.pulled.set()
            self.hurry.set()

        follower = asyncio.create_task(follow())
        try:
            yield
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
