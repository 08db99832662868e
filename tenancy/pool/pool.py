"""An asyncpg pool of connections that forget, handed out inside a transaction."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from tenancy import tenant
from tenancy.errors import (
    DatabaseSetupError,
    DatabaseUnavailableError,
    NotStartedError,
    OtherLoopError,
    PoolExhaustedError,
)
from tenancy.fairness.outage import ASKING_SECONDS, Outage
from tenancy.fairness.permits import Permits
from tenancy.faults import LOST, connecting, reason
from tenancy.pool import connect, lent
from tenancy.pool.connection import ForgetfulConnection
from tenancy.pool.entry import Entry
from tenancy.pool.holders import discard, discard_idle, give_back, take
from tenancy.pool.shapes import Shapes
from tenancy.settings import Settings, variable

_log = logging.getLogger(__name__)

Init = Callable[[asyncpg.Connection], Awaitable[None]]

MAX_TRIES = 3
ENTERING_PER_CONNECTION = 2  # the next ones are there when a connection is given back
CLOSE_TIMEOUT_SECONDS = 5.0

_DATABASE_URL = variable("database_url")


class Pool:
    """The connections of one process.

    Attributes:
        permits: to hold a connection.
        entrance: permits to be on the way to one; see `fairness.entrance`.
    """

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self._pool = pool
        self._outage = Outage()
        self._acquire_timeout_seconds = settings.pool_acquire_timeout_seconds
        self._max_served = settings.pool_max_schemas
        self._loop = asyncio.get_running_loop()
        self.permits = _permits(settings, settings.pool_max_size, settings.tenant_max_connections)
        self.entrance = _permits(settings, ENTERING_PER_CONNECTION * settings.pool_max_size)
        self._releasing: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, settings: Settings, init: Init | None = None) -> Self:
        """Connect ``pool_min_size`` times.

        Raises:
            SettingsError: the address cannot be read.
            DatabaseUnavailableError: the server does not answer.
            DatabaseSetupError: it does, and refuses this login or database.
        """
        shapes = Shapes(connect.statement_cache(settings), settings.statement_cache_size)
        with connecting(_DATABASE_URL):
            pool = await asyncpg.create_pool(
                settings.dsn,
                min_size=settings.pool_min_size,
                max_size=settings.pool_max_size,
                connection_class=ForgetfulConnection,
                init=init,
                connect=partial(connect.for_pool, shapes, pooler=settings.pooler),
                timeout=settings.pool_acquire_timeout_seconds,
                # The server gives up first, and says why; this is for a network that is a hole.
                command_timeout=settings.statement_timeout_seconds + 1,
                **connect.options(settings),
            )
        return cls(pool, settings)

    async def enter(self, entry: Entry) -> PoolConnectionProxy:
        """Take a connection and begin a transaction on it; give it back by `leave`.

        The schema stands for the tenant, who has a share of the connections: `fairness.permits`.

        Raises:
            TenantBusyError: it has as many at work as it may.
            PoolExhaustedError: all connections stayed busy for the acquire timeout.
            DatabaseUnavailableError: the server cannot be reached.
            DatabaseSetupError: it refuses the login, or the role to become.
        """
        await self.permits.acquire(entry.schema, entry.max_connections, tenant.waited_seconds())
        try:
            tenant.connected()
            return await self._begin(entry)
        except BaseException:
            self.permits.release(entry.schema)
            raise

    async def leave(self, conn: PoolConnectionProxy, schema: str, *, wait: bool) -> None:
        """Give back *conn*, which `enter` has returned for *schema*, as `release` does.

        Args:
            conn: of `enter`.
            schema: the one that was given to it.
            wait: False: return at once, so that no cancellation can be raised in here; what takes
                time goes on in a task of its own.
        """
        releasing = await self._start_release(conn)
        if releasing is None:
            self.permits.release(schema)
            return
        releasing.add_done_callback(lambda _: self.permits.release(schema))
        if wait:
            await asyncio.shield(releasing)

    async def _begin(self, entry: Entry) -> PoolConnectionProxy:
        """Begin a transaction on a connection that lives.

        One of the pool may have died idle: the way in is also the probe. Where it finds a dead one
        nothing has run, so that one is closed and another taken, within the acquire timeout.
        """
        # Of its own: who has waited long for a permit must not take a slow answer for none.
        deadline = self._deadline()
        for tries_left in reversed(range(MAX_TRIES)):
            conn = await take(self._pool, entry.schema) or await self._acquire(deadline)
            try:
                await conn.enter(entry, _remaining(deadline))
            except asyncio.CancelledError:
                await self.release(conn)
                raise
            except LOST as error:
                discard(conn)
                self._suspect(error, tries_left)
                if not tries_left:
                    raise _lost(error) from error
            except (
                asyncpg.InsufficientPrivilegeError,
                asyncpg.InvalidParameterValueError,
            ) as error:
                await self.release(conn)  # well, but for this tenant's role
                raise DatabaseSetupError(
                    "the login may not become the tenant's role: run `python -m tenancy tenants "
                    "grant`, or set TENANCY_ISOLATION=schema"
                ) from error
            except BaseException:
                discard(conn)
                raise
            else:
                return conn
        raise AssertionError  # the last try returns or raises

    async def read(self, sql: str, *args: object) -> Sequence[asyncpg.Record]:
        """Return the rows of one query that changes nothing, as the login itself, with no tenant.

        Raises:
            PoolExhaustedError, DatabaseUnavailableError: nobody could be asked, several times.
        """
        deadline = self._deadline()
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                async with self.connection(deadline) as conn:
                    rows: Sequence[asyncpg.Record] = await conn.fetch(
                        sql, *args, timeout=_remaining(deadline)
                    )
                    return rows
            except LOST as error:
                self._suspect(error, tries_left)
                if not tries_left:
                    raise _lost(error) from error
            except asyncpg.QueryCanceledError as error:
                raise _lost(error) from error
        raise AssertionError  # the last try returns or raises

    @asynccontextmanager
    async def connection(self, deadline: float | None = None) -> AsyncIterator[PoolConnectionProxy]:
        """Yield a connection as it is: the login's own role, an empty path, no transaction.

        Args:
            deadline: loop time after which to give up; by default the acquire timeout from now.

        Raises:
            PoolExhaustedError, DatabaseUnavailableError: as `enter`.
        """
        conn = await self._acquire(deadline or self._deadline())
        try:
            yield conn
        finally:
            await self.release(conn)

    async def release(self, conn: PoolConnectionProxy) -> None:
        """Give *conn* back; it forgets, or is closed. Goes on when the caller is cancelled."""
        releasing = await self._start_release(conn)
        if releasing is not None:
            await asyncio.shield(releasing)

    async def _start_release(self, conn: PoolConnectionProxy) -> "asyncio.Task[None] | None":
        """Give *conn* back, or return the task that does. Never waits."""
        try:
            given_back = await give_back(conn, self._max_served)
        except Exception:  # noqa: BLE001 - what was to be saved is saved, or was reported
            _close(conn)
            given_back = True
        if given_back:
            lent.end(conn)
            return None
        releasing = asyncio.create_task(self._reset(conn))
        self._releasing.add(releasing)  # the loop itself keeps no task alive
        releasing.add_done_callback(self._releasing.discard)
        return releasing

    async def _reset(self, conn: PoolConnectionProxy) -> None:
        try:
            await self._pool.release(conn, timeout=CLOSE_TIMEOUT_SECONDS)
        except Exception:  # noqa: BLE001 - likewise
            _close(conn)
        finally:
            lent.end(conn)

    async def close(self) -> None:
        """Wait a little for connections in use, then close them all."""
        try:
            await asyncio.wait_for(self._pool.close(), CLOSE_TIMEOUT_SECONDS)
        except TimeoutError:
            _log.warning("connections still in use at shutdown are closed: the server rolls back")
            self._pool.terminate()

    @property
    def size(self) -> int:
        """Open connections."""
        return int(self._pool.get_size())

    @property
    def idle(self) -> int:
        """Open connections that serve nobody."""
        return int(self._pool.get_idle_size())

    def _deadline(self) -> float:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # asyncpg would write to the socket from this thread as well
            raise OtherLoopError(
                "these connections belong to another event loop: from a thread, use "
                "asyncio.run_coroutine_threadsafe(work(), loop), which takes the tenant along; "
                "for a loop of its own, start a Tenancy of its own"
            )
        return loop.time() + self._acquire_timeout_seconds

    def _suspect(self, error: Exception, tries_left: int) -> None:
        """Close the idle connections too if *error* says that they are all dead.

        One may have been ended by itself. Two in a row, or one that does not answer at all: the
        server has restarted, or cannot be reached, and the last try must not meet a third.
        """
        no_answer = isinstance(error, TimeoutError)
        if no_answer:
            self._outage.begin(refused=False)
        if no_answer or tries_left <= 1:
            discard_idle(self._pool)

    async def _acquire(self, deadline: float) -> PoolConnectionProxy:
        if self._pool.is_closing():
            raise NotStartedError("the pool is closed: the service is stopping")
        if self._outage.is_on and not self.idle and self.size < self._pool.get_max_size():
            with self._outage.asking():
                return await self._take(min(_remaining(deadline), ASKING_SECONDS))
        return await self._take(_remaining(deadline))

    async def _take(self, timeout_seconds: float) -> PoolConnectionProxy:
        try:
            with connecting(_DATABASE_URL):
                return await self._pool.acquire(timeout=timeout_seconds)
        except DatabaseUnavailableError as error:
            if self.size < self._pool.get_max_size() or not _timed_out(error):
                self._outage.begin(refused=not _timed_out(error))
                raise
            raise PoolExhaustedError(
                f"no connection became free within {self._acquire_timeout_seconds} s: all "
                f"{self.size} are busy (TENANCY_POOL_MAX_SIZE)"
            ) from error


def _close(conn: PoolConnectionProxy) -> None:
    _log.warning("a connection could not be reset and is closed", exc_info=True)
    discard(conn)


def _lost(error: Exception) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        f"the connection to the database was lost ({reason(error)}): nothing has run"
    )


def _permits(settings: Settings, size: int, tenant_limit: int | None = None) -> Permits:
    return Permits(
        size,
        tenant_limit=tenant_limit,
        max_waiting=settings.pool_max_waiting,
        timeout_seconds=settings.pool_acquire_timeout_seconds,
    )


def _remaining(deadline: float) -> float:
    return max(deadline - asyncio.get_running_loop().time(), 0.001)


def _timed_out(error: DatabaseUnavailableError) -> bool:
    return isinstance(error.__cause__, TimeoutError)
