"""Advisory locks: one runner per schema, one run per database.

Always tried, never waited for in the server: a session that waits in ``pg_advisory_lock()`` holds a
snapshot, and CREATE INDEX CONCURRENTLY elsewhere waits for that, for ever. The ledger stays right
without these locks; they save work, and say who is at it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import Facts, SchemaRef
from tenancy.migrate.upgrade.session import APPLICATION_NAME

CLASS = 7_306_118  # any number of ours: the first half of every lock's key
KEEP_CLASS = CLASS + 1  # of those that say what becomes of a scratch schema
RUN = 0  # the second half is a pg_namespace.oid, and no schema has one of these
BOOTSTRAP = 1
STOCK = 2  # the schemas that are made ahead

RUN_WAIT_SECONDS = 1.0  # a killed runner's back end may take half a second to notice
SCHEMA_WAIT_SECONDS = 60.0

UNLOCK = "SELECT pg_catalog.pg_advisory_unlock_all()"

_POLL_SECONDS = (0.02, 0.5)
_HOLDER = """
    SELECT l.pid, a.application_name, a.backend_start
    FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND l.classid = $1 AND l.objid = $2
"""


class LockHeldError(MigrationError):
    """Another session holds the lock; names it."""

    code = "migration_locked"
    exit_code = 75


class RunLockHeldError(LockHeldError):
    """Another run is migrating this database."""

    code = "migration_running"


@dataclass(slots=True)
class Held:
    """The lock of one schema.

    Attributes:
        facts: read of the schema when it was taken.
        released: whether the last transaction has given it back.
    """

    facts: Facts
    released: bool = False


@asynccontextmanager
async def held(conn: asyncpg.Connection, oid: int) -> AsyncIterator[None]:
    """Hold the lock of *oid* on *conn*, which has no open transaction.

    Afterwards *conn* holds no advisory lock at all, for a migration may have taken some of its own.
    Where the block fails *conn* is closed: its transaction, its locks and its state go together.

    Raises:
        LockHeldError: somebody else had it for a minute.
    """
    if not await _acquired(lambda: _tried(conn, oid), SCHEMA_WAIT_SECONDS):
        raise await _locked(conn, oid)
    try:
        yield
        await conn.execute(UNLOCK)
    except BaseException:
        conn.terminate()
        raise


@asynccontextmanager
async def of_schema(
    conn: asyncpg.Connection, schema: SchemaRef, stage: Stage
) -> AsyncIterator[Held]:
    """Hold the lock of *schema* as `held` does, and read its facts in the same round trip.

    Raises:
        LockHeldError: as `held`.
    """
    taken = Held(Facts(first=False))

    async def tried() -> bool:
        taken.facts = await checkpoints.facts(conn, schema, stage, _try(schema.oid))
        return taken.facts.first

    if not await _acquired(tried, SCHEMA_WAIT_SECONDS):
        raise await _locked(conn, schema.oid)
    try:
        yield taken
        if not taken.released:
            await conn.execute(UNLOCK)
    except BaseException:
        conn.terminate()
        raise


async def claim(conn: asyncpg.Connection, oid: int) -> None:
    """Take the lock of the schema *oid* for as long as the open transaction of *conn* lasts.

    Raises:
        LockHeldError: somebody else has it.
    """
    if not await _tried(conn, oid, "xact_lock"):
        raise await _locked(conn, oid)


async def take(conn: asyncpg.Connection, oid: int, wait_seconds: float = 0.0) -> None:
    """Take the lock of the schema *oid*, for as long as *conn* lives.

    Raises:
        LockHeldError: somebody else had it for so long.
    """
    if not await _acquired(lambda: _tried(conn, oid), wait_seconds):
        raise await _locked(conn, oid)


async def take_run(conn: asyncpg.Connection) -> None:
    """Take the lock of the whole run, for as long as *conn* lives.

    Raises:
        RunLockHeldError: another run has it; names its process, and what ends it.
    """
    if not await _acquired(lambda: _tried(conn, RUN), RUN_WAIT_SECONDS):
        raise RunLockHeldError(f"another run holds the lock, {await _told(conn, RUN)}")


async def holder(conn: asyncpg.Connection, oid: int) -> str:
    """Return who holds the lock of *oid*, in words."""
    return _named(await conn.fetchrow(_HOLDER, CLASS, oid))


async def holder_process(conn: asyncpg.Connection, oid: int) -> int | None:
    """Return the server process that holds the lock of *oid*; None: nobody does."""
    row = await conn.fetchrow(_HOLDER, CLASS, oid)
    return None if row is None else row["pid"]


async def held_by(conn: asyncpg.Connection, oid: int) -> str | None:
    """Return the application's name of who holds the lock of *oid*; None: nobody does."""
    row = await conn.fetchrow(_HOLDER, CLASS, oid)
    return None if row is None else row["application_name"] or ""


async def _locked(conn: asyncpg.Connection, oid: int) -> LockHeldError:
    return LockHeldError(f"locked by {await _told(conn, oid)}")


async def _told(conn: asyncpg.Connection, oid: int) -> str:
    """Return who holds the lock of *oid*, and what to do about it."""
    row = await conn.fetchrow(_HOLDER, CLASS, oid)
    if row is None:
        return f"{_named(row)}: try again"
    end = "end that session yourself: it is no migrator's"
    if row["application_name"] == APPLICATION_NAME:
        end = f"end it with `python -m tenancy.migrate unlock --terminate {row['pid']}`"
    return f"{_named(row)}: wait for it, or {end}"


def _named(row: asyncpg.Record | None) -> str:
    if row is None:
        return "somebody who has just let go"
    since = row["backend_start"]  # hidden from a login that is neither the same nor a monitor
    words = f"{row['application_name'] or 'a session'} (server process {row['pid']}"
    return words + (f", connected since {since:%Y-%m-%d %H:%M:%S %Z})" if since else ")")


async def _acquired(tried: Callable[[], Awaitable[bool]], wait_seconds: float) -> bool:
    """Whether *tried* succeeded within the time, polled with growing and uneven pauses."""
    deadline = asyncio.get_running_loop().time() + wait_seconds
    pause, longest = _POLL_SECONDS
    while not await tried():
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        pause = min(2 * pause, longest)
    return True


async def _tried(conn: asyncpg.Connection, oid: int, kind: str = "lock") -> bool:
    return bool(await conn.fetchval(f"SELECT {_try(oid, kind)}"))


def key(oid: int) -> int:
    """Return *oid*, which is unsigned, as a lock's function takes it: the same 32 bits, signed."""
    return oid - 2**32 if oid >= 2**31 else oid


def _try(oid: int, kind: str = "lock") -> str:
    return f"pg_catalog.pg_try_advisory_{kind}({CLASS:d}, {key(oid):d})"
