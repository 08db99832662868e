"""The connection that leads a run: it holds the run's lock, and reads and writes the ledger."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import asyncpg

from tenancy.errors import TenancyError
from tenancy.migrate.fleet.brake import Brake
from tenancy.migrate.ledger import runs
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.session import Session

Read = TypeVar("Read")


class Control:
    """One connection, which is taken in turns. With it the lock is lost, and is taken again.

    Attributes:
        leads: whether it is to hold the run's lock.
        run_id: of the run under way, once there is one.
    """

    def __init__(self, session: Session, brake: Brake) -> None:
        self.leads = False
        self.run_id: UUID | None = None
        self._session = session
        self._brake = brake
        self._turn = asyncio.Lock()
        self._lost = asyncio.Event()
        self._locked: asyncpg.Connection | None = None

    async def read(self, operation: Callable[[asyncpg.Connection], Awaitable[Read]]) -> Read:
        """Return what *operation* returns, under the run's lock where this run `leads`.

        It runs a second time if the connection is lost.

        Raises:
            RunLockHeldError: another run has the lock.
            DatabaseUnavailableError: as `Session.connection`.
        """

        async def locked(conn: asyncpg.Connection) -> Read:
            if self.leads and conn is not self._locked:
                await self._lock(conn)
            return await operation(conn)

        async with self._turn:
            return await self._session.query(locked)

    async def lead(self) -> None:
        """Take the run's lock, and keep it.

        Raises:
            RunLockHeldError: another run has it.
        """
        self.leads = True
        try:
            await self.read(_nothing)
        except BaseException:
            self.leads = False
            raise

    async def _lock(self, conn: asyncpg.Connection) -> None:
        await lock.take_run(conn)
        if self.run_id is not None:
            await runs.lead(conn, self.run_id)
        conn.add_termination_listener(lambda _conn: self._lost.set())
        self._locked = conn

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Take a lost lock again while the block runs, or put the brake on where that fails."""

        async def watch() -> None:
            while True:
                await self._lost.wait()
                self._lost.clear()
                try:
                    await self.read(_nothing)
                except (TenancyError, asyncpg.PostgresError, OSError) as error:
                    self._brake.fail(error)
                    return

        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


async def _nothing(_conn: asyncpg.Connection) -> None:
    pass
