"""Who may use a connection next: shares of the pool, fair among tenants.

A transaction cannot be interrupted for another's sake, so room is kept before it is needed: a
tenant may always have a first connection, and a further one only while it holds fewer than are
free. Alone, it gets up to half of the pool; two that take all they can get a third each, n of them
an n+1-th, and as much is left for whoever comes next (the dynamic threshold of Choudhury and Hahne,
"Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998). Where some wait, the
tenant that holds the fewest comes first, and among equals the one that has waited longest.
"""

import asyncio
from collections import OrderedDict

from tenancy.errors import PoolExhaustedError, TenantBusyError

Waiter = asyncio.Future[bool]

_NOBODY: OrderedDict[Waiter, None] = OrderedDict()  # stays empty; one is made for who must wait


class _Share:
    """What one tenant holds and waits for; forgotten when that is nothing.

    Attributes:
        limit: permits it may hold at most, however many are free.
        rank: where it stands among those that wait; None: nowhere, it may not have another now.
    """

    __slots__ = ("held", "limit", "rank", "waiting")

    def __init__(self, limit: int) -> None:
        self.held = 0
        self.limit = limit
        self.rank: int | None = None
        self.waiting = _NOBODY


class Permits:
    """Permits to use a connection, as many as the pool may have; for one event loop.

    Taking one costs no more with ten thousand tenants than with ten, and a tenant that neither
    holds nor waits costs no memory.

    Args:
        size: how many there are.
        tenant_limit: how many one tenant may hold at most; None: what the rule allows.
        max_waiting: how many requests may wait; of those too one tenant gets no more than it leaves
            to others.
        timeout_seconds: how long each may wait.
    """

    def __init__(
        self, size: int, *, tenant_limit: int | None, max_waiting: int, timeout_seconds: float
    ) -> None:
        self._size = self._free = size
        self._tenant_limit = min(tenant_limit or size, size)
        self._max_waiting = max_waiting
        self._timeout_seconds = timeout_seconds
        self._waiting = 0
        self._shares: dict[str, _Share] = {}
        # Those that wait and are below their own limit, by what they hold; the longest first.
        self._ranks: list[OrderedDict[_Share, None]] = [OrderedDict() for _ in range(size)]

    @property
    def free(self) -> int:
        """Permits that nobody holds."""
        return self._free

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return self._waiting

    async def acquire(
        self, whose: str, limit: int | None = None, waited_seconds: float = 0.0
    ) -> None:
        """Take a permit for the tenant called *whose*; give it back by `release`.

        A caller that is cancelled holds none.

        Args:
            whose: any name that is this tenant's alone.
            limit: how many this tenant may hold; lowers that of all, and never raises it.
            waited_seconds: how much of its time the caller has waited already.

        Raises:
            TenantBusyError: this tenant has as many requests at work, or waiting, as it may.
            PoolExhaustedError: all tenants together have.
        """
        own_limit = self._tenant_limit if limit is None else min(limit, self._tenant_limit)
        share = self._shares.get(whose)
        if share is None:
            share = self._shares[whose] = _Share(own_limit)
        elif share.limit != own_limit:
            share.limit = own_limit
            self._place(share)
            self._hand_over()
        if share.held < self._free and share.held < own_limit and not share.waiting:
            share.held += 1
            self._free -= 1
        else:
            await self._wait(whose, share, self._timeout_seconds - waited_seconds)

    def release(self, whose: str) -> None:
        """Give back a permit that `acquire` has returned for *whose*."""
        share = self._shares[whose]
        share.held -= 1
        self._free += 1
        if self._waiting:
            self._place(share)
            self._hand_over()
        if not share.held and not share.waiting:
            del self._shares[whose]

    async def _wait(self, whose: str, share: _Share, timeout_seconds: float) -> None:
        room = self._max_waiting - self._waiting
        if len(share.waiting) >= room:
            self._forget_if_idle(whose, share)
            raise self._refusal(share, "as many requests wait as may", of_tenant=room > 0)
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        if share.waiting is _NOBODY:
            share.waiting = OrderedDict()
        share.waiting[waiter] = None
        self._waiting += 1
        self._place(share)
        deadline = loop.time() + timeout_seconds
        timer = loop.call_at(deadline, self._give_up, share, waiter)
        try:
            granted = await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._withdraw(share, waiter)
                self._forget_if_idle(whose, share)
            elif waiter.result():  # cancelled between the grant and now
                self.release(whose)
            raise
        finally:
            timer.cancel()
        if granted and loop.time() > deadline:  # a loop so busy that the grant came too late
            self.release(whose)
            granted = False
        if not granted:
            at_own_limit = share.limit <= share.held < self._size
            of_tenant = at_own_limit or (share.held > 0 and self._free > 0)
            self._forget_if_idle(whose, share)
            raise self._refusal(
                share, f"no connection within {self._timeout_seconds} s", of_tenant=of_tenant
            )

    def _refusal(
        self, share: _Share, what: str, *, of_tenant: bool
    ) -> TenantBusyError | PoolExhaustedError:
        if of_tenant:
            return TenantBusyError(
                f"{what}: this tenant holds {share.held} of {self._size} connections and "
                f"{len(share.waiting)} of its requests wait"
            )
        return PoolExhaustedError(
            f"{what}: {self._size - self._free} of {self._size} connections are busy "
            f"(TENANCY_POOL_MAX_SIZE) and {self._waiting} requests wait"
        )

    def _give_up(self, share: _Share, waiter: Waiter) -> None:
        if not waiter.done():
            self._withdraw(share, waiter)
            waiter.set_result(False)

    def _withdraw(self, share: _Share, waiter: Waiter) -> None:
        if waiter in share.waiting:
            del share.waiting[waiter]
            self._waiting -= 1
            self._place(share)

    def _hand_over(self) -> None:
        """Give what is free to those that wait, as far as the rule allows."""
        while (share := self._next()) is not None:
            waiter, _ = share.waiting.popitem(last=False)
            self._waiting -= 1
            if not waiter.done():  # else cancelled, and about to find out
                share.held += 1
                self._free -= 1
                waiter.set_result(True)
            self._place(share)

    def _next(self) -> _Share | None:
        for rank in self._ranks[: self._free]:
            if rank:
                return next(iter(rank))
        return None

    def _place(self, share: _Share) -> None:
        """Put *share* behind the others that wait and hold as much, unless it is there already."""
        rank = share.held if share.waiting and share.held < share.limit else None
        if rank == share.rank:
            return
        if share.rank is not None:
            del self._ranks[share.rank][share]
        if rank is not None:
            self._ranks[rank][share] = None
        share.rank = rank

    def _forget_if_idle(self, whose: str, share: _Share) -> None:
        if not share.held and not share.waiting and self._shares.get(whose) is share:
            del self._shares[whose]
