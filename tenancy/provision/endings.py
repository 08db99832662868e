"""How a step ended, as far as anybody can tell, and what the audit is told of it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tenancy.errors import CommitUnknownError, TenancyError
from tenancy.pool.connect import connect
from tenancy.provision import audit
from tenancy.provision.audit import Outcome
from tenancy.provision.hooks import Event
from tenancy.settings import Settings

_log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.02
_SERVER_FAULT = 500

_STATUS = "SELECT pg_catalog.pg_xact_status($1::text::xid8)"
_SILENT = (TimeoutError, TenancyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


async def settle(
    conn: asyncpg.Connection, settings: Settings, event: Event, error: BaseException
) -> bool:
    """Tell the audit that *error* ended *event*; return whether the step is done all the same.

    It may be, where the connection was lost or the task cancelled while COMMIT was on its way; the
    server knows ("System Information Functions", pg_xact_status).

    Args:
        conn: of the step, in whatever state.
        settings: for a further connection, where that one is of no use.
        event: the step.
        error: what ended it.

    Raises:
        CommitUnknownError: the server cannot be asked, or does not know yet.
    """
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), _usable(conn, settings) as usable:
            status = await _status(usable, event.done_in)
            if status == "committed":
                return True
            if status in {None, "aborted"}:
                await audit.record(usable, event, *_outcome(error))
                return False
            await audit.record(usable, event, Outcome.UNKNOWN, CommitUnknownError.code)
    except _SILENT as lost:
        _log.error(
            "the audit could not be told what became of %s: %s", event.step, type(lost).__name__
        )
        if event.done_in is None:
            return False
    raise CommitUnknownError(
        f"the connection was lost while {event.step} of {event.slug!r} was being committed: look "
        "whether it is done before you do it again"
    ) from error


async def _status(conn: asyncpg.Connection, transaction: str | None) -> str | None:
    """Return what became of *transaction*; waits for a server process that still works on it."""
    if transaction is None:
        return None
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS / 2
    while (status := await conn.fetchval(_STATUS, transaction)) == "in progress":
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(_POLL_SECONDS)
    return status or "too old to tell"


@asynccontextmanager
async def _usable(
    conn: asyncpg.Connection, settings: Settings
) -> AsyncIterator[asyncpg.Connection]:
    """Yield *conn*, or another one where it is lost, or in the middle of something."""
    if not conn.is_closed() and not conn.is_in_transaction():
        yield conn
        return
    another = await connect(settings, as_admin=True)
    try:
        yield another
    finally:
        await another.close()


def _outcome(error: BaseException) -> tuple[Outcome, str]:
    if isinstance(error, asyncio.CancelledError):
        return Outcome.FAILED, "interrupted"
    if not isinstance(error, TenancyError):
        return Outcome.FAILED, type(error).__name__
    refused = error.status < _SERVER_FAULT
    return Outcome.REFUSED if refused else Outcome.FAILED, error.code
