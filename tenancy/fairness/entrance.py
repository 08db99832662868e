"""How many requests are let into the framework at once: as many as soon reach a connection.

An event loop gives every request the same small step in turn. With a thousand of them inside, those
that have a connection wait a thousand steps for each of their own, and the pool stands idle behind
a busy loop. So a request waits in front of the framework, where it costs next to nothing, until one
of those before it has its connection.
"""

import asyncio

from tenancy.fairness.permits import Permits

# A request that is still not at the database does something else: a body that arrives slowly,
# another service, a stream. It no longer counts.
HOLD_SECONDS = 0.5


class Ticket:
    """One request on its way from the front to its first connection.

    Attributes:
        waited_seconds: how long it waited to be let in.
    """

    __slots__ = ("_permits", "_timer", "_whose", "waited_seconds")

    def __init__(self, permits: Permits, whose: str, waited_seconds: float) -> None:
        self._permits = permits
        self._whose = whose
        self.waited_seconds = waited_seconds
        loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = loop.call_later(HOLD_SECONDS, self.leave)

    def leave(self) -> None:
        """Let the next one in, if this one has not done so before."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            self._permits.release(self._whose)


async def enter(permits: Permits, whose: str) -> Ticket:
    """Return a ticket for a request of the tenant called *whose*, as soon as there is one.

    Raises:
        TenantBusyError, PoolExhaustedError: as `Permits.acquire`.
    """
    loop = asyncio.get_running_loop()
    came_at = loop.time()
    await permits.acquire(whose)
    return Ticket(permits, whose, loop.time() - came_at)
