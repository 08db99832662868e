"""Administrators for many callers at a time: a few connections, lent for one request each."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tenancy.errors import DatabaseUnavailableError, PoolExhaustedError
from tenancy.faults import LOST, LOST_BEFORE_COMMIT, reading_catalog
from tenancy.pool.connect import connect
from tenancy.provision.actor import Actor
from tenancy.provision.administrator import Administrator, login_of_requests
from tenancy.provision.hooks import Hooks
from tenancy.provision.hooks import load as load_hooks
from tenancy.settings import Settings

CONNECTIONS = 8
RESET_SECONDS = 5.0
MAX_AGE_SECONDS = 300.0  # the server's memory of the schemas that a connection has made

_RESET = "RESET ROLE; DISCARD TEMP"  # what asyncpg's own leaves


class Office:
    """Lends administrators, each with a connection that nobody else has and that remembers nothing.

    Nothing is connected before the first one is asked for.

    Args:
        settings: of the deployment.
        hooks: what is to be done at each step; by default those of TENANCY_HOOKS.
        connections: at most.

    Raises:
        SettingsError: TENANCY_HOOKS names none.
    """

    def __init__(
        self, settings: Settings, *, hooks: Hooks | None = None, connections: int = CONNECTIONS
    ) -> None:
        self.settings = settings
        self._hooks = load_hooks(settings.hooks) if hooks is None else hooks
        self._connections = connections
        self._free = asyncio.Semaphore(connections)
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        self._login: str | None = None
        self._lent = 0

    @asynccontextmanager
    async def administrator(self, actor: Actor) -> AsyncIterator[Administrator]:
        """Lend an administrator who acts on behalf of *actor*.

        Raises:
            PoolExhaustedError: none became free within the time a request waits for one.
            DatabaseUnavailableError: the server does not answer, or the connection was lost before
                a step was done.
            DatabaseSetupError: it refuses a login, or has no catalog that could be read.
        """
        async with self.turn(), self._connection() as conn:
            if self._login is None:
                self._login = await login_of_requests(self.settings, conn)
            yield Administrator(conn, self.settings, self._login, actor=actor, hooks=self._hooks)

    async def read(self, query: str) -> Sequence[Any]:
        """Return the rows of a query about the catalog."""
        async with self.turn(), self._connection() as conn:
            rows: Sequence[Any] = await conn.fetch(query)
            return rows

    @property
    def size(self) -> int:
        """How many connections there are: lent, or waiting to be."""
        return self._lent + len(self._idle)

    @property
    def idle(self) -> int:
        """How many connections wait to be lent."""
        return len(self._idle)

    async def close(self) -> None:
        """Close the connections that are not lent."""
        while self._idle:
            await self._idle.pop()[0].close()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, as for an administrator; for work that connects by itself.

        Raises:
            PoolExhaustedError: as `administrator`.
        """
        try:
            async with asyncio.timeout(self.settings.pool_acquire_timeout_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise PoolExhaustedError(
                f"all {self._connections} connections of administrators are at work"
            ) from error
        try:
            yield
        finally:
            self._free.release()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        conn, opened_at = await self._taken()
        self._lent += 1
        try:
            with reading_catalog():
                yield conn
        except LOST as error:
            if isinstance(error, OSError) and not conn.is_closed():
                raise  # a hook's own
            raise DatabaseUnavailableError(LOST_BEFORE_COMMIT) from error
        finally:
            self._lent -= 1
            await asyncio.shield(self._take_back(conn, opened_at))

    async def _taken(self) -> tuple[asyncpg.Connection, float]:
        while self._idle:
            conn, opened_at = self._idle.pop()
            if await _is_alive(conn):
                return conn, opened_at
        return await connect(self.settings, as_admin=True), time.monotonic()

    async def _take_back(self, conn: asyncpg.Connection, opened_at: float) -> None:
        """Keep *conn* for the next one, or close it: where its state is not known, always."""
        is_old = time.monotonic() - opened_at > MAX_AGE_SECONDS
        if conn.is_closed() or conn.is_in_transaction() or is_old:
            conn.terminate()
            return
        try:
            async with asyncio.timeout(RESET_SECONDS):
                await conn.execute(_RESET)
                await conn.reset()
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            with contextlib.suppress(asyncpg.InterfaceError, OSError):
                conn.terminate()
        else:
            self._idle.append((conn, opened_at))


async def _is_alive(conn: asyncpg.Connection) -> bool:
    """Whether a connection that nobody has used for a while still leads anywhere."""
    try:
        async with asyncio.timeout(RESET_SECONDS):
            await conn.execute("SELECT 1")
    except LOST:
        conn.terminate()
        return False
    return True
