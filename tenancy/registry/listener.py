"""Hears of the registry's changes: one connection beside the pool, for as long as a process lives.

PostgreSQL tells a listening session what was committed. Three things can keep that from us, and
each is noticed: a connection that ends (asyncpg says so), one that falls silent (it is asked every
`KEEPALIVE_SECONDS`), and one behind a transaction pooler, to which notifications do not come (one
is sent to ourselves at the beginning). Until it is mended, the registry's time to live holds.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Protocol

import asyncpg

from tenancy.errors import TenancyError
from tenancy.faults import LOST, connecting, reason
from tenancy.identifiers import CATALOG_SCHEMA, literal
from tenancy.pool.connect import connect
from tenancy.registry.lookup import Fetch
from tenancy.settings import Settings, variable

_log = logging.getLogger(__name__)

CHANNEL = "tenancy_registry"
KEEPALIVE_SECONDS = 2.0
SHORTEST_KEEPALIVE_SECONDS = 0.1
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 2.0  # so long may an answer take before the connection is given up
ECHO_SECONDS = 1.0
CANCEL_SECONDS = 5.0
GATHER_SECONDS = 0.02  # a flood of notifications is read so often, not once for each
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.1, 1.0
DEAF_RETRY_SECONDS = 10.0  # a setting must change first

_ECHO = "echo "
_TRIGGERS = """
    SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE n.nspname OPERATOR(pg_catalog.=) $1 AND t.tgname OPERATOR(pg_catalog.~~) 'notify\\_%'
      AND t.tgenabled OPERATOR(pg_catalog.<>) 'D'
"""
_EXPECTED_TRIGGERS = 12  # sql/catalog/0003_notify.sql: four for each of three tables


class Follower(Protocol):
    """Who wants to hear of changes; called in no request's context."""

    def changed(self, payload: str) -> None:
        """Take note of a notification, at once and in constant time."""

    async def catch_up(self, fetch: Fetch, *, everything: bool) -> None:
        """Read what has changed by *fetch*; *everything* where we may have missed some."""

    def heard(self, at: float) -> None:
        """Know that every change committed before *at*, in loop time, has been caught up with."""


class _DeafError(Exception):
    """The connection is well, and notifications do not come."""


class Listener:
    """Keeps a *follower* up to date until it is stopped.

    The follower reads on this connection too: a busy pool delays nobody's suspension.
    """

    def __init__(self, settings: Settings, follower: Follower) -> None:
        self._settings = settings
        self._follower = follower
        # A memory that lives briefly is to be told often that we still hear.
        self._keepalive_seconds = max(
            SHORTEST_KEEPALIVE_SECONDS, min(KEEPALIVE_SECONDS, settings.registry_ttl_seconds / 2)
        )
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._wake = asyncio.Event()
        self._echo = asyncio.Event()
        self._expected_echo = ""
        self._failures = 0
        self._was_well = False
        self._said = ""

    async def start(self) -> None:
        """Begin; return when the first attempt has succeeded or failed."""
        # In a context of its own: what a request has set does not belong to its callbacks.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())
        await self._tried.wait()

    async def stop(self) -> None:
        """End, and close the connection."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()  # again, should a library have swallowed it
            await asyncio.wait({task}, timeout=CANCEL_SECONDS)

    async def _run(self) -> None:
        while True:
            longest = LAST_RETRY_SECONDS
            try:
                await self._session()
                self._say("the connection ended")
            except _DeafError as error:
                longest = DEAF_RETRY_SECONDS
                self._failures += 10
                self._say(str(error))
            except TenancyError as error:
                self._say(str(error))
            except (*LOST, asyncpg.PostgresError) as error:
                self._say(reason(error))
            except Exception:  # noqa: BLE001 - whatever it is, a later attempt may succeed
                _log.exception("the registry's listener failed")
            self._tried.set()
            wait = min(longest, FIRST_RETRY_SECONDS * 2 ** min(self._failures, 10))
            self._failures += 1
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - spreads processes

    async def _session(self) -> None:
        """Listen on one connection until it is lost."""
        async with self._connection() as conn:
            await conn.add_listener(CHANNEL, self._notified)
            await self._require_triggers(conn)
            await self._require_echo()
            everything = True  # whatever changed before we listened
            while not conn.is_closed():
                self._wake.clear()
                asked_at = asyncio.get_running_loop().time()
                await conn.execute("SELECT 1")  # its answer comes after all earlier notifications
                await self._follower.catch_up(conn.fetch, everything=everything)
                self._follower.heard(asked_at)
                if everything:
                    everything = False
                    self._listening()
                await self._rest()

    def _listening(self) -> None:
        if self._said:
            _log.info("changes of tenants are heard of again")
        self._said = ""
        self._was_well = True
        self._failures = 0
        self._tried.set()

    async def _rest(self) -> None:
        # Not wait_for: until Python 3.12 it loses a cancellation that meets what it waits for.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._keepalive_seconds):
                await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        field = "registry_listen_database_url"
        if self._settings.registry_listen_database_url is None:
            field = "database_url"
        with connecting(variable(field)):
            conn = await asyncpg.connect(
                self._settings.listen_dsn,
                timeout=CONNECT_SECONDS,
                command_timeout=ANSWER_SECONDS,
                server_settings={"application_name": "tenancy listener"},
            )
        try:
            conn.add_termination_listener(self._lost)
            yield conn
        finally:
            try:
                await conn.close(timeout=ANSWER_SECONDS)
            except (*LOST, asyncpg.PostgresError):
                conn.terminate()

    def _notified(self, _: object, __: int, ___: str, payload: str) -> None:
        if not payload.startswith(_ECHO):
            self._follower.changed(payload)
            self._wake.set()
        elif payload == self._expected_echo:
            self._echo.set()

    def _lost(self, _: object) -> None:
        self._wake.set()

    async def _require_triggers(self, conn: asyncpg.Connection) -> None:
        if await conn.fetchval(_TRIGGERS, CATALOG_SCHEMA) < _EXPECTED_TRIGGERS:
            raise _DeafError(
                "the catalog's triggers are missing or disabled: run `python -m tenancy.migrate`"
            )

    async def _require_echo(self) -> None:
        """Send a notification where requests run: it must arrive here.

        From another session: a pooler may well pass on what comes back within the same statement.
        """
        self._echo.clear()
        self._expected_echo = _ECHO + secrets.token_hex(8)
        conn = await connect(self._settings, as_admin=False)
        try:
            await conn.execute(f"NOTIFY {CHANNEL}, {literal(self._expected_echo)}")
        finally:
            await conn.close(timeout=ANSWER_SECONDS)
        try:
            async with asyncio.timeout(ECHO_SECONDS):
                await self._echo.wait()
        except TimeoutError:
            raise _DeafError(
                "a notification sent to ourselves does not arrive: a pooler in transaction mode is "
                f"in between, or another database; set {variable('registry_listen_database_url')} "
                "to the server's own address, or TENANCY_REGISTRY_LISTEN=false"
            ) from None

    def _say(self, why: str) -> None:
        """Log a reason once, not at every attempt; a loss that the next attempt mends is none."""
        if self._was_well:
            _log.info("the listener's connection is lost (%s): connecting again", why)
        elif why != self._said:
            _log.warning(
                "changes of tenants are not heard of: %s. Until they are, each tenant is looked up "
                "again after %s s (TENANCY_REGISTRY_TTL_SECONDS)",
                why,
                self._settings.registry_ttl_seconds,
            )
            self._said = why
        self._was_well = False
