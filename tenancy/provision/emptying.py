"""A schema's objects, dropped in transactions whose locks fit the server's lock table.

Each transaction is whole by itself, so whoever is stopped goes on where he was.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import TypeVar

import asyncpg

from tenancy.errors import DatabaseSetupError, SchemaInUseError
from tenancy.identifiers import quoted
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.upgrade import waiting
from tenancy.migrate.upgrade.retry import is_contention
from tenancy.migrate.upgrade.session import backoff
from tenancy.provision import reach

Result = TypeVar("Result")

SHARE = 8  # of the lock table that one of our transactions may fill: one in so many
LEAST_LOCKS = 32
OBJECTS_PER_TABLE = 10  # to begin with; then as many as there were
HELD_SECONDS = 0.01  # the longest that a table which all tenants refer to is locked; or one key's

# Others wait behind us for a table that all tenants refer to, and for the tenant's own nobody does.
_SHORT, _LONG = "200ms", "2s"
_ENDLESS = "SET LOCAL statement_timeout = 0"  # whatever the login's is

_CAPACITY = """
    SELECT current_setting('max_locks_per_transaction')::int
         * (current_setting('max_connections')::int
            + current_setting('max_prepared_transactions')::int)
"""
_FOREIGN_KEYS = """
    SELECT c.conrelid, c.confrelid,
           pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname)
               AS statement
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_constraint AS c ON c.conrelid = d.objid
    JOIN pg_catalog.pg_class AS f ON f.oid = c.confrelid
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1
      AND d.classid = 'pg_class'::regclass
      AND c.contype = 'f' AND c.conparentid = 0 AND f.relnamespace <> $1
"""
# Views before what they are made of, partitions before what they are parts of: each goes with few
# others. What no kind here is of goes with the schema.
_NEXT = """
    WITH content AS MATERIALIZED (
        SELECT classid, objid FROM pg_catalog.pg_depend
        WHERE refclassid = 'pg_namespace'::regclass AND refobjid = $1
    )
    SELECT 'pg_class' AS catalog, c.oid, c.oid::regclass::text AS name, k.kind, k.rank,
           c.relispartition
    FROM content JOIN pg_catalog.pg_class AS c ON classid = 'pg_class'::regclass AND c.oid = objid
    JOIN (VALUES ('v', 'VIEW', 1), ('m', 'MATERIALIZED VIEW', 2), ('f', 'FOREIGN TABLE', 3),
                 ('r', 'TABLE', 4), ('p', 'TABLE', 5), ('S', 'SEQUENCE', 6))
        AS k (relkind, kind, rank) ON k.relkind = c.relkind::text
    UNION ALL
    SELECT 'pg_proc', p.oid, p.oid::regprocedure::text, 'ROUTINE', 7, false
    FROM content JOIN pg_catalog.pg_proc AS p ON classid = 'pg_proc'::regclass AND p.oid = objid
    WHERE p.prokind <> 'a' AND NOT EXISTS (  -- such as a range's constructor
        SELECT FROM pg_catalog.pg_depend AS d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
    UNION ALL
    SELECT 'pg_type', t.oid, t.oid::regtype::text, 'TYPE', 8, false
    FROM content JOIN pg_catalog.pg_type AS t ON classid = 'pg_type'::regclass AND t.oid = objid
    WHERE t.typtype IN ('c', 'd', 'e', 'r') AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
    ORDER BY rank, relispartition DESC, oid LIMIT $2
"""


class _TooManyError(Exception):
    """More goes with the objects than is to be locked at once."""


class Emptying:
    """Drops what is in *schema*, over *conn*, which has no open transaction.

    Args:
        conn: of the owner of schemas.
        schema: a tenant's that nobody serves any more.
        wait_seconds: patience with whoever holds locks on its tables, before each transaction.
    """

    def __init__(self, conn: asyncpg.Connection, schema: SchemaRef, wait_seconds: float) -> None:
        self._conn = conn
        self._schema = schema
        self._wait_seconds = wait_seconds
        self._most = 0  # objects in one transaction
        self._each = OBJECTS_PER_TABLE

    async def run(self) -> int:
        """Drop all tables, views, sequences, routines and types; return how many were named.

        Raises:
            SchemaInUseError: somebody held a lock for too long; names him.
            SchemaSharedError: something outside of the schema would go too; nothing of it did.
            DatabaseSetupError: one object alone does not fit the lock table.
        """
        self._most = max(LEAST_LOCKS, await self._conn.fetchval(_CAPACITY) // SHARE)
        keys = await self._conn.fetch(_FOREIGN_KEYS, self._schema.oid)
        while keys:
            gone = await self._patiently(lambda: self._let_go(keys), _both(keys[:50]))  # noqa: B023 - now
            keys = keys[gone:]
        dropped = 0
        while found := await self._conn.fetch(_NEXT, self._schema.oid, self._count()):
            first = found[0]["rank"]
            batch = [row for row in found if row["rank"] == first]
            dropped += await self._dropped(batch)
        return dropped

    async def finish(self) -> None:
        """Drop the schema itself and what is left in it, in the open transaction.

        Raises:
            SchemaInUseError, SchemaSharedError: as `run`.
        """
        conn, name = self._conn, quoted(self._schema.name)

        async def drop() -> None:
            async with conn.transaction():
                await conn.execute(f"SET LOCAL lock_timeout = '{_LONG}'; {_ENDLESS}")
                await reach.refuse_shared(conn, self._schema)
                await conn.execute(f"DROP SCHEMA {name} CASCADE")

        await self._patiently(drop, [])

    async def _let_go(self, keys: Sequence[asyncpg.Record]) -> int:
        """Drop the first of *keys*, to tables that others use; return how many it could be."""
        async with self._short(_SHORT):
            begun = monotonic()
            for count, key in enumerate(keys, start=1):
                await self._conn.execute(key["statement"])
                if count == 1:
                    begun = monotonic()  # until then it may have waited
                elif monotonic() - begun > HELD_SECONDS:
                    break
        return count

    async def _dropped(self, rows: Sequence[asyncpg.Record]) -> int:
        """Drop *rows*, or as many of them as may go at once; return how many did."""
        batch = list(rows)
        while True:
            oids = [row["oid"] for row in batch]
            try:
                await self._patiently(lambda: self._drop(batch), oids)  # noqa: B023 - called here
            except (_TooManyError, asyncpg.OutOfMemoryError) as error:
                if len(batch) == 1:
                    raise DatabaseSetupError(
                        f"dropping {batch[0]['name']} takes more locks than the server has room "
                        "for: raise max_locks_per_transaction, and restart it"
                    ) from error
                if isinstance(error, asyncpg.OutOfMemoryError):  # others fill the table too
                    self._most = max(LEAST_LOCKS, self._most // 2)
                batch = batch[: len(batch) // 2]
            else:
                return len(batch)

    async def _drop(self, batch: Sequence[asyncpg.Record]) -> None:
        oids = [row["oid"] for row in batch]
        async with self._short(_LONG):
            if batch[0]["kind"] == "TABLE":  # nobody makes a view of them from now on
                tables = ", ".join(f"ONLY {row['name']}" for row in batch)
                await self._conn.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
            found = await reach.measure(self._conn, self._schema, batch[0]["catalog"], oids)
            found.refuse_others()
            self._each = max(1, found.objects // len(batch))
            if found.objects > self._most and len(batch) > 1:
                raise _TooManyError
            names = ", ".join(row["name"] for row in batch)
            await self._conn.execute(f"DROP {batch[0]['kind']} {names} CASCADE")

    @asynccontextmanager
    async def _short(self, lock_timeout: str) -> AsyncIterator[None]:
        async with self._conn.transaction():
            # What a crash undoes is done again; the last transaction of a purge waits for the disk.
            await self._conn.execute(
                f"SET LOCAL lock_timeout = '{lock_timeout}'; SET LOCAL synchronous_commit = off; "
                f"{_ENDLESS}"
            )
            yield

    async def _patiently(
        self, work: Callable[[], Awaitable[Result]], relations: Sequence[int]
    ) -> Result:
        """Return what *work* returns, which is done again and again where others are in its way."""
        deadline = monotonic() + self._wait_seconds
        attempt = 0
        while True:
            try:
                return await work()
            except asyncpg.PostgresError as error:
                if not is_contention(error):
                    raise
                if monotonic() >= deadline:
                    raise await self._in_use(relations) from error
            await backoff(attempt, longest_seconds=1.0)
            attempt += 1

    async def _in_use(self, relations: Sequence[int]) -> SchemaInUseError:
        who = ""
        with contextlib.suppress(asyncpg.PostgresError):
            who = await waiting.holders(self._conn, relations)
        return SchemaInUseError(
            f"the tables of {self._schema.name} are in use by {who or 'somebody who has let go'}: "
            "end that, or run it again later; what was dropped stays so"
        )

    def _count(self) -> int:
        return max(1, self._most // self._each)


def _both(keys: Sequence[asyncpg.Record]) -> list[int]:
    return [oid for key in keys for oid in (key["conrelid"], key["confrelid"])]
