"""An asyncpg pool of connections that forget, handed out inside a transaction."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from tenancy.connection import LOST, ForgetfulConnection, discard, give_back
from tenancy.errors import (
    DatabaseSetupError,
    DatabaseUnavailableError,
    NotStartedError,
    PoolExhaustedError,
)
from tenancy.settings import Settings

_log = logging.getLogger(__name__)

Init = Callable[[asyncpg.Connection], Awaitable[None]]

MAX_ENTER_TRIES = 3
CLOSE_TIMEOUT_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 10.0


class Pool:
    """The connections of one process, handed out inside a transaction that has already begun."""

    def __init__(self, pool: asyncpg.Pool, acquire_timeout_seconds: float) -> None:
        self._pool = pool
        self._acquire_timeout_seconds = acquire_timeout_seconds

    @classmethod
    async def open(cls, settings: Settings, init: Init | None = None) -> Self:
        """Connect ``pool_min_size`` times.

        Raises:
            DatabaseUnavailableError: the server does not answer.
            DatabaseSetupError: it does, and refuses this login or database.
        """
        try:
            pool = await asyncpg.create_pool(
                settings.dsn,
                min_size=settings.pool_min_size,
                max_size=settings.pool_max_size,
                connection_class=ForgetfulConnection,
                init=init,
                timeout=settings.pool_acquire_timeout_seconds,
                # The server gives up first, and says why; this is for a network that swallows
                # packets.
                command_timeout=settings.statement_timeout_seconds + 1,
                server_settings=_session(settings),
            )
        except Exception as error:
            raise translated(error) or error from error
        return cls(pool, settings.pool_acquire_timeout_seconds)

    async def enter(
        self, sql: str, *, readonly: bool = False, isolation: str | None = None
    ) -> PoolConnectionProxy:
        """Take a connection and begin a transaction on it by *sql*; give it back by `release`.

        A pooled connection may have died idle: *sql* is also the probe. Where it finds a dead one
        nothing has run, so that one is closed and another taken, within the acquire timeout.

        Raises:
            PoolExhaustedError: all connections stayed busy for the acquire timeout.
            DatabaseUnavailableError: the server cannot be reached.
            DatabaseSetupError: it refuses the login, or the role to become.
        """
        deadline = asyncio.get_running_loop().time() + self._acquire_timeout_seconds
        for remaining in reversed(range(MAX_ENTER_TRIES)):
            conn = await self.acquire(deadline)
            try:
                await conn.enter(sql, readonly=readonly, isolation=isolation)
            except asyncio.CancelledError:
                await self.release(conn)
                raise
            except Exception as error:
                discard(conn)
                if not (remaining and isinstance(error, LOST)):
                    raise translated(error) or error from error
            else:
                return conn
        raise AssertionError("unreachable: the last try returns or raises")

    async def acquire(self, deadline: float | None = None) -> PoolConnectionProxy:
        """Take a connection as it is: the login's own role, an empty path, no transaction.

        Args:
            deadline: loop time after which to give up; by default the acquire timeout from now.

        Raises:
            As `enter`.
        """
        now = asyncio.get_running_loop().time()
        remaining = (
            self._acquire_timeout_seconds if deadline is None else max(deadline - now, 0.001)
        )
        try:
            return await self._pool.acquire(timeout=remaining)
        except TimeoutError as error:
            if self._pool.get_size() < self._pool.get_max_size():
                raise DatabaseUnavailableError(
                    "the database did not accept a connection"
                ) from error
            raise PoolExhaustedError(
                f"no connection became free within {self._acquire_timeout_seconds} s: all "
                f"{self._pool.get_max_size()} are busy (TENANCY_POOL_MAX_SIZE)"
            ) from error
        except Exception as error:
            raise translated(error) or error from error

    async def release(self, conn: PoolConnectionProxy) -> None:
        """Give *conn* back; it forgets, or is closed. Goes on when the caller is cancelled."""
        try:
            if not await give_back(conn):
                await self._pool.release(conn, timeout=CLOSE_TIMEOUT_SECONDS)
        except Exception:  # noqa: BLE001 - see below
            # Whatever was to be saved is saved, or was reported; the pool has closed the
            # connection.
            _log.warning("a connection could not be reset and is closed", exc_info=True)
            discard(conn)

    async def close(self) -> None:
        """Wait a little for connections in use, then close them all."""
        try:
            await asyncio.wait_for(self._pool.close(), CLOSE_TIMEOUT_SECONDS)
        except TimeoutError:
            _log.warning(
                "connections still in use at shutdown were closed: nothing they did is saved"
            )
            self._pool.terminate()

    @property
    def size(self) -> int:
        """Open connections."""
        return int(self._pool.get_size())

    @property
    def idle(self) -> int:
        """Open connections that serve nobody."""
        return int(self._pool.get_idle_size())


async def connect(dsn: str, application_name: str) -> asyncpg.Connection:
    """Return one connection outside of any pool, with an empty path, for work on the catalog.

    Raises:
        DatabaseUnavailableError: the server does not answer.
        DatabaseSetupError: it refuses this login or database.
    """
    session = {"application_name": application_name, "search_path": ""}
    try:
        return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS, server_settings=session)
    except Exception as error:
        raise translated(error) or error from error


def translated(error: Exception) -> Exception | None:
    """Return our error for a failure to connect or to begin; None for any other."""
    if isinstance(
        error,
        asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError,
    ):
        return DatabaseSetupError(
            "the database refuses this login or has no such database: check TENANCY_DATABASE_URL"
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError | asyncpg.InvalidParameterValueError):
        return DatabaseSetupError(
            "the login may not become the tenant's role: run `python -m tenancy tenants grant`, "
            "or set TENANCY_ISOLATION=schema"
        )
    if isinstance(error, asyncpg.InterfaceError) and "pool is clos" in str(error):
        return NotStartedError("the pool is closed: the service is stopping")
    if isinstance(error, LOST):
        return DatabaseUnavailableError(
            f"the database does not answer ({type(error).__name__}): see whether it runs, and "
            "where TENANCY_DATABASE_URL points"
        )
    return None


def _session(settings: Settings) -> dict[str, str]:
    """Settings that each session starts with, and that RESET ALL returns to."""
    return {
        "application_name": "tenancy",
        "search_path": "",
        "synchronous_commit": "on",
        "statement_timeout": _milliseconds(settings.statement_timeout_seconds),
        "idle_in_transaction_session_timeout": _milliseconds(
            settings.idle_in_transaction_timeout_seconds
        ),
    }


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
