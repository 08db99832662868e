"""Who holds the lock that a file waits for: asked on another connection, and only after a while."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Self

import asyncpg

from tenancy.migrate.report.events import Event, Waiting
from tenancy.migrate.upgrade.session import Session

FIRST_SECONDS = 1.0  # most files are done by then
AGAIN_SECONDS = 1.0
SOON_SECONDS = 0.05  # after a lock timeout: a short one is over before anybody looks

# Prepared transactions hold locks too, as process 0. State and times are hidden from a login that
# is neither the same nor a monitor. Never the query: there may be rows in it.
_BLOCKERS = """
    SELECT b.pid, a.application_name, a.state, a.xact_start, a.backend_type
    FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b (pid)
    LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid LIMIT 3
"""
_HOLDERS = """
    SELECT DISTINCT coalesce(l.pid, 0) AS pid, a.application_name, a.state, a.xact_start,
           a.backend_type
    FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.relation = ANY ($1) AND l.granted
      AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    ORDER BY a.xact_start LIMIT 3
"""


class Watcher:
    """Looks now and then whether a back end waits for a lock, for as long as its block lasts.

    Attributes:
        blocker: who held the lock when it last waited, in words; empty: it never did.
    """

    def __init__(self, session: Session, schema: str, watch: Callable[[Event], None]) -> None:
        self.blocker = ""
        self._session = session
        self._schema = schema
        self._watch = watch
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._pid: int | None = None

    async def __aenter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(FIRST_SECONDS, self.look, AGAIN_SECONDS)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def at(self, pid: int) -> None:
        """Look at the back end *pid* from now on."""
        self._pid = pid

    def look(self, pause_seconds: float = SOON_SECONDS) -> None:
        """Begin to look at once, if it has not begun."""
        if self._task is None:
            self._task = asyncio.create_task(self._looking(pause_seconds))

    async def _looking(self, pause_seconds: float) -> None:
        with contextlib.suppress(Exception):  # what the file says matters more
            async with Session(self._session.settings) as session:
                conn = await session.connection()
                since: float | None = None
                while True:
                    found = await blockers(conn, self._pid) if self._pid else ""
                    since = (since or monotonic()) if found else None
                    if since is not None:
                        self.blocker = found
                        self._watch(Waiting(self._schema, monotonic() - since, found))
                    await asyncio.sleep(pause_seconds)


async def blockers(conn: asyncpg.Connection, pid: int) -> str:
    """Return who keeps the back end *pid* waiting for a lock, in words; empty: nobody."""
    return " and ".join(_words(row) for row in await conn.fetch(_BLOCKERS, pid))


async def holders(conn: asyncpg.Connection, relations: Sequence[int]) -> str:
    """Return who else holds a lock on one of *relations*, in words; empty: nobody does."""
    return " and ".join(_words(row) for row in await conn.fetch(_HOLDERS, list(relations)))


def _words(row: asyncpg.Record) -> str:
    if not row["pid"]:
        return "a prepared transaction"
    name = row["application_name"] or row["backend_type"] or "a session"
    state = f", {row['state']}" if row["state"] else ""
    since = f", in a transaction since {row['xact_start']:%H:%M:%S %Z}" if row["xact_start"] else ""
    return f"{name} (server process {row['pid']}{state}{since})"
