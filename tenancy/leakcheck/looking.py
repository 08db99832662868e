"""Looks at the application's connections between requests."""

import asyncio
from contextlib import suppress

import asyncpg

from tenancy.leakcheck import states
from tenancy.leakcheck.calls import Call
from tenancy.leakcheck.ledger import Ledger
from tenancy.leakcheck.states import Picture
from tenancy.leakcheck.watching import Watch, Watched

SETTLE_SECONDS = 1.0
LOOK_SECONDS = 2.0


class Looker:
    """Compares what connections remember with what they did before any request.

    A connection of a pool is compared with a fresh one, after the pool's own `init`; one without a
    pool with itself before the first request, or else with one on which nothing was ever set.
    """

    def __init__(self, watch: Watch, ledger: Ledger) -> None:
        self._watch = watch
        self._ledger = ledger
        self._pictured: dict[int, Picture] = {}

    async def begin(self) -> None:
        """Picture every connection that the application has before its first request."""
        self._watch.rest()
        await self._picture_pools()
        for watched in list(self._watch.connections.values()):
            watched.expected = await self._picture(watched)

    async def look(self, call: Call | None) -> None:
        """Look at every connection that requests have used; *call* is the one that just ended."""
        settled = await self._watch.settled(SETTLE_SECONDS)
        used = [w for w in self._watch.connections.values() if w.calls]
        pictures = [(watched, await self._picture(watched)) for watched in used]
        await self._picture_pools()
        for watched, found in pictures:
            if found is not None:
                self._compare(watched, found, call)
        if not settled and call is not None and call.connections:
            self._ledger.state(call, "the connection", "given back", "still in use", ())

    def _compare(self, watched: Watched, found: Picture, call: Call | None) -> None:
        self._ledger.report.looks += 1
        expected = [*self._pictured.values(), {}]
        if watched.expected is not None:
            expected = [watched.expected]
        last, watched.last = watched.last, found
        for item, (should, does) in states.differences(expected, found).items():
            if last.get(item, states.NOTHING) != does or does == "open":
                culprit = call if call is not None else self._ledger.call(watched.calls[-1])
                before = self._ledger.before(watched, culprit)
                self._ledger.state(culprit, item, should or "nothing", does or "nothing", before)

    async def _picture(self, watched: Watched) -> Picture | None:
        if watched.conn.is_closed():
            return None
        try:
            return await states.picture(
                watched.conn, self._watch.own_settings, watched.login, LOOK_SECONDS
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, OSError):
            return None  # it is in use, or gone

    async def _picture_pools(self) -> None:
        for pool in self._watch.pools:
            if id(pool) not in self._pictured and not pool.is_closing():
                self._pictured[id(pool)] = {}  # where it gives none away, it is not asked again
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, OSError):
                    self._pictured[id(pool)] = await self._fresh(pool)

    async def _fresh(self, pool: asyncpg.Pool) -> Picture:
        """Return what a new connection of *pool* remembers after the application's own `init`."""
        async with asyncio.timeout(LOOK_SECONDS):
            known = set(self._watch.connections)
            await pool.expire_connections()
            async with pool.acquire():
                for key, watched in self._watch.connections.items():
                    if key not in known:
                        return await self._picture(watched) or {}
        return {}

    async def forget(self) -> None:
        """Let every pool begin with new connections."""
        for pool in self._watch.pools:
            if not pool.is_closing():
                with suppress(asyncpg.InterfaceError):
                    await pool.expire_connections()
