"""An asyncpg pool of connections that forget, handed out inside a transaction."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from tenancy.connection import Connection, ForgetfulConnection, discard, give_back
from tenancy.errors import (
    DatabaseSetupError,
    DatabaseUnavailableError,
    NotStartedError,
    PoolExhaustedError,
)
from tenancy.faults import LOST, connecting, reason
from tenancy.pooler import session
from tenancy.settings import Pooler, Settings, variable

_log = logging.getLogger(__name__)

Init = Callable[[asyncpg.Connection], Awaitable[None]]

MAX_TRIES = 3
CLOSE_TIMEOUT_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 10.0

# Where the server's platform can tell: it ends the work of a client that has gone, locks and all.
_WATCHFUL = {"client_connection_check_interval": "1s"}

_DATABASE_URL = variable("database_url")


@dataclass(frozen=True, slots=True)
class Entry:
    """How a transaction begins.

    Attributes:
        sql: the whole way in, one message.
        readonly, isolation: what *sql* says of them, for asyncpg's savepoints.
        shape: names the version of the tables; statements are cached for each shape apart.
        strict: only what `statements.admit` lets through is run, one statement at a time.
    """

    sql: str
    readonly: bool = False
    isolation: str | None = None
    shape: str = ""
    strict: bool = False


class Pool:
    """The connections of one process."""

    def __init__(self, pool: asyncpg.Pool, acquire_timeout_seconds: float) -> None:
        self._pool = pool
        self._acquire_timeout_seconds = acquire_timeout_seconds

    @classmethod
    async def open(cls, settings: Settings, init: Init | None = None) -> Self:
        """Connect ``pool_min_size`` times.

        Raises:
            SettingsError: the address cannot be read.
            DatabaseUnavailableError: the server does not answer.
            DatabaseSetupError: it does, and refuses this login or database.
        """
        with connecting(_DATABASE_URL):
            pool = await asyncpg.create_pool(
                settings.dsn,
                min_size=settings.pool_min_size,
                max_size=settings.pool_max_size,
                connection_class=ForgetfulConnection,
                init=init,
                connect=_connected,
                timeout=settings.pool_acquire_timeout_seconds,
                # The server gives up first, and says why; this is for a network that is a hole.
                command_timeout=settings.statement_timeout_seconds + 1,
                **_session(settings),
            )
        return cls(pool, settings.pool_acquire_timeout_seconds)

    async def enter(self, entry: Entry) -> PoolConnectionProxy:
        """Take a connection and begin a transaction on it; give it back by `release`.

        A pooled connection may have died idle: the way in is also the probe. Where it finds a dead
        one nothing has run, so that one is closed and another taken, within the acquire timeout.

        Raises:
            PoolExhaustedError: all connections stayed busy for the acquire timeout.
            DatabaseUnavailableError: the server cannot be reached.
            DatabaseSetupError: it refuses the login, or the role to become.
        """
        deadline = self._deadline()
        for tries_left in reversed(range(MAX_TRIES)):
            conn = await self._acquire(deadline)
            try:
                await conn.enter(
                    entry.sql,
                    readonly=entry.readonly,
                    isolation=entry.isolation,
                    shape=entry.shape,
                    strict=entry.strict,
                )
            except asyncio.CancelledError:
                await self.release(conn)
                raise
            except LOST as error:
                discard(conn)
                if not tries_left:
                    raise _lost(error) from error
            except (
                asyncpg.InsufficientPrivilegeError,
                asyncpg.InvalidParameterValueError,
            ) as error:
                discard(conn)
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
                    rows: Sequence[asyncpg.Record] = await conn.fetch(sql, *args)
                    return rows
            except LOST as error:
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
        try:
            if not await give_back(conn, CLOSE_TIMEOUT_SECONDS):
                await self._pool.release(conn, timeout=CLOSE_TIMEOUT_SECONDS)
        except Exception:  # noqa: BLE001 - what was to be saved is saved, or was reported
            _log.warning("a connection could not be reset and is closed", exc_info=True)
            discard(conn)

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
        return asyncio.get_running_loop().time() + self._acquire_timeout_seconds

    async def _acquire(self, deadline: float) -> PoolConnectionProxy:
        remaining = max(deadline - asyncio.get_running_loop().time(), 0.001)
        if self._pool.is_closing():
            raise NotStartedError("the pool is closed: the service is stopping")
        try:
            with connecting(_DATABASE_URL):
                return await self._pool.acquire(timeout=remaining)
        except DatabaseUnavailableError as error:
            if self.size < self._pool.get_max_size() or not _timed_out(error):
                raise
            raise PoolExhaustedError(
                f"no connection became free within {self._acquire_timeout_seconds} s: all "
                f"{self.size} are busy (TENANCY_POOL_MAX_SIZE)"
            ) from error


async def _connected(dsn: str, **options: Any) -> asyncpg.Connection:  # noqa: ANN401
    """Return a new connection for the pool, opened in no context at all.

    asyncpg calls log listeners and decoders in the context a connection was opened in: they would
    serve the tenant whose request happened to open it.
    """
    connecting = asyncio.get_running_loop().create_task(_watched(dsn, options), context=Context())
    try:
        return await connecting
    except asyncio.CancelledError:
        if connecting.done() and not connecting.cancelled() and not connecting.exception():
            connecting.result().terminate()  # cancelled in the moment it was there
        raise


async def _watched(dsn: str, options: dict[str, Any]) -> asyncpg.Connection:
    first = options.pop("server_settings")
    watchful = {**first, **_WATCHFUL} if "search_path" in first else first  # else: a pooler's
    try:
        return await asyncpg.connect(dsn, **options, server_settings=watchful)
    except (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError):
        return await asyncpg.connect(dsn, **options, server_settings=first)


async def connect(settings: Settings, *, as_admin: bool) -> asyncpg.Connection:
    """Return one connection outside of any pool, with an empty path, for work on the catalog.

    Raises:
        SettingsError, DatabaseUnavailableError, DatabaseSetupError: as `faults.connecting`.
    """
    dsn = settings.admin_dsn if as_admin else settings.dsn
    name = "admin_database_url" if as_admin and settings.admin_database_url else "database_url"
    options = _session(settings)
    if as_admin or settings.pooler is Pooler.NONE:
        options["server_settings"] = {"application_name": "tenancy admin", "search_path": ""}
    if not as_admin:
        options["statement_cache_size"] = 0  # a pooler may be there that we were not told of
    with connecting(variable(name)):
        return await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT_SECONDS, connection_class=Connection, **options
        )


def _lost(error: Exception) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        f"the connection to the database was lost ({reason(error)}): nothing has run"
    )


def _timed_out(error: DatabaseUnavailableError) -> bool:
    return isinstance(error.__cause__, TimeoutError)


def _session(settings: Settings) -> dict[str, Any]:
    """Return how to connect: what each session starts with, and what RESET ALL returns to."""
    if settings.pooler is Pooler.NONE:
        return {"server_settings": session(settings)}
    # PgBouncer refuses the other settings, and before 1.21 loses prepared statements.
    first = {"application_name": session(settings)["application_name"]}
    return {"server_settings": first, "statement_cache_size": 0}
