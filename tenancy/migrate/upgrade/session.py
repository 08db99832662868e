"""The migrator's connections: empty path, no statement cache, replaced when lost or worn."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

import asyncpg

from tenancy.errors import DatabaseSetupError
from tenancy.faults import LOST, connecting
from tenancy.settings import Settings, variable

APPLICATION_NAME = "tenancy migrate"
CONNECT_TIMEOUT_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 60.0  # for statements of our own; a file's have the server's timeout
UNLIMITED_SECONDS = 1e8  # three years: the driver takes None for the limit above
CONNECT_ATTEMPTS = 5
CLOSE_TIMEOUT_SECONDS = 5.0

# A back end remembers every table it has seen and gives nothing back: 155 MB after 1,000 schemas.
SCHEMAS_PER_CONNECTION = 200

_SESSION = {
    "application_name": APPLICATION_NAME,
    "search_path": "",
    "standard_conforming_strings": "on",  # as the splitter reads strings
    "statement_timeout": "0",
    "lock_timeout": "2s",  # of the ledger's tables too
}
# Since 14, and where the platform can tell: the server drops the work of a killed runner at once.
_WATCHFUL = {"client_connection_check_interval": "500ms", "idle_session_timeout": "0"}

# Everything a file can leave behind in a session, except advisory locks, which are kept.
FORGET = (
    "CLOSE ALL",
    "UNLISTEN *",
    "RESET SESSION AUTHORIZATION",
    "RESET ROLE",
    "RESET ALL",
    "DISCARD TEMP",
    "DISCARD SEQUENCES",
    "DEALLOCATE ALL",
)
Result = TypeVar("Result")


def is_lost(error: BaseException) -> bool:
    """Whether *error* speaks of the connection rather than of a statement."""
    return isinstance(error, LOST)


def unprivileged(settings: Settings, wanted: str) -> DatabaseSetupError:
    """Return the error of a login that may not make *wanted*, a schema: says what to grant it."""
    grant = "as the database's owner, run GRANT CREATE ON DATABASE <database> TO <login>"
    return DatabaseSetupError(f"the login may not create {wanted}: {settings.unset_owner or grant}")


async def backoff(attempt: int, longest_seconds: float = 5.0) -> None:
    """Sleep before attempt number *attempt* + 1: a tenth of a second, doubled each time, uneven."""
    pause = min(0.1 * 2**attempt, longest_seconds)
    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


class Session:
    """One task's connection, opened when it is needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._conn: asyncpg.Connection | None = None
        self._served = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close() if error is None else self.discard()

    async def connection(self) -> asyncpg.Connection:
        """Return the connection, or a new one where that is closed.

        Raises:
            DatabaseUnavailableError: the server did not answer, several times.
            DatabaseSetupError: it refuses this login or database.
            SettingsError: the address cannot be read.
        """
        if self._conn is None or self._conn.is_closed():
            self._conn = await _connected(self.settings)
            self._served = 0
        return self._conn

    async def query(self, operation: Callable[[asyncpg.Connection], Awaitable[Result]]) -> Result:
        """Return what *operation* returns; it runs a second time if the connection is lost.

        Raises:
            DatabaseUnavailableError: as `connection`.
        """
        try:
            return await operation(await self.connection())
        except Exception as error:
            if not is_lost(error):
                raise
            self.discard()
            return await operation(await self.connection())

    async def forget(self) -> None:
        """Leave nothing in the session of a file that has run in it."""
        for sql in FORGET if self._conn is not None else ():
            await (await self.connection()).execute(sql)

    async def recycle(self) -> None:
        """Count one more schema, and close a connection that has seen its share."""
        self._served += 1
        if self._served >= SCHEMAS_PER_CONNECTION:
            await self._close()

    def discard(self) -> None:
        """Drop the connection without a word: its state is not known. The server rolls back."""
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None

    async def _close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(Exception):  # the work is done, and close() has ended it
                await conn.close(timeout=CLOSE_TIMEOUT_SECONDS)


async def _connected(settings: Settings) -> asyncpg.Connection:
    name = "admin_database_url" if settings.admin_database_url else "database_url"
    with connecting(variable(name)):
        for attempt in range(1, CONNECT_ATTEMPTS):
            try:
                return await _open(settings.admin_dsn)
            except LOST as error:
                if isinstance(error, ValueError):  # an address that cannot be read stays so
                    raise
            await backoff(attempt)
        return await _open(settings.admin_dsn)


async def _open(dsn: str) -> asyncpg.Connection:
    try:
        return await _connect(dsn, {**_SESSION, **_WATCHFUL})
    except (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError):
        return await _connect(dsn, _SESSION)


async def _connect(dsn: str, server_settings: dict[str, str]) -> asyncpg.Connection:
    return await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        statement_cache_size=0,
        server_settings=server_settings,
    )
