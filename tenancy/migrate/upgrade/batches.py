"""Backfills: a table's rows in batches, each in a transaction that also notes how far it came."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Self

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import backfills
from tenancy.migrate.ledger.backfills import Mark
from tenancy.migrate.report.events import Backfilling, Event
from tenancy.migrate.upgrade import keyset as keysets
from tenancy.migrate.upgrade.keyset import Keyset
from tenancy.migrate.upgrade.pace import Pace
from tenancy.migrate.upgrade.scope import Scope


class BackfillStoppedError(MigrationError):
    """The run was told to stop, and this schema was left between two batches: no failure."""

    code = "backfill_stopped"


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a table, in a transaction that ends with the loop's block.

    Attributes:
        conn: asyncpg's connection, in that transaction.
        columns: the rows' keys in their order, by column: ``unnest($1::bigint[], $2::text[])``
            takes them so.
    """

    conn: Any
    columns: tuple[list[Any], ...]

    @property
    def keys(self) -> list[Any]:
        """The rows' keys in their order: values, or tuples where the key has several columns."""
        return self.columns[0] if len(self.columns) == 1 else list(zip(*self.columns, strict=True))

    @property
    def first(self) -> Any:  # noqa: ANN401 - of the column's type
        """The lowest key."""
        return self.keys[0]

    @property
    def last(self) -> Any:  # noqa: ANN401
        """The highest key."""
        return self.keys[-1]


@dataclass(slots=True)
class Work:
    """What the loops of one file in one schema share.

    Attributes:
        inline: inside a transaction that somebody else begins and ends, of a schema that nobody
            uses yet: no transactions, no pauses, no cursor.
        prefix: of the names of all loops; tells those of the way back.
        watch: told of each batch that is committed.
        lent: the connection as the file sees it.
    """

    conn: asyncpg.Connection
    scope: Scope
    migration: Migration
    inline: bool
    prefix: str
    watch: Callable[[Event], None]
    stop: asyncio.Event
    loops: "list[Batches]"
    lent: Any = None

    @property
    def open(self) -> "Batches | None":
        """The loop whose batch is under way."""
        return next((loop for loop in self.loops if loop.is_open), None)

    def require_done(self) -> None:
        """Pass if every loop has come to its end.

        Raises:
            BackfillStoppedError: the run was told to stop, and the file went on without an error.
            MigrationError: one was left, so that rows are missing.
        """
        left = [loop.name for loop in self.loops if not loop.is_done]
        if left and self.stop.is_set():
            raise BackfillStoppedError(f"the backfill {left[0]} was left between two batches")
        if left:
            raise MigrationError(
                f"the loop over {left[0]} was left before its end: rows are missing, so let it end"
            )


class Batches:
    """An iterator over the batches of one table; ``async for`` alone uses it.

    Coming back for the next batch commits the one before. An exception in the block, or in the
    commit, leaves the loop for good, and nothing of that batch.
    """

    def __init__(
        self, work: Work, name: str, way: tuple[str, Sequence[str], str], pace: Pace
    ) -> None:
        self.name = name
        self.is_done = False
        self.scope = work.scope  # of its last batch
        self._work = work
        self._way = way
        self._pace = pace
        self._size = pace.first
        self._keyset: Keyset | None = None
        self._mark = Mark(work.scope.schema, work.migration.version, name)
        self._after: tuple[object, ...] = ()
        self._transaction: Any = None
        self._began = 0.0
        self._next: Mark | None = None  # where it will stand after the batch under way

    @property
    def is_open(self) -> bool:
        """Whether a batch is under way."""
        return self._next is not None

    @property
    def done(self) -> int:
        """Rows that are done and committed, in all runs."""
        return self._mark.done

    def __aiter__(self) -> Self:
        if self._keyset is not None:
            raise MigrationError(f"the loop over {self.name} has begun: call batches() once more")
        return self

    async def __anext__(self) -> Batch:
        if self._next is not None:
            await self._end_batch(self._next)
        elif self._keyset is None:
            await self._begin()
        if self._work.stop.is_set() and not self._work.inline:
            raise BackfillStoppedError(f"the backfill {self.name} was left between two batches")
        if not self.is_done:
            batch = await self._batch()
            if batch is not None:
                return batch
        self.is_done = True
        raise StopAsyncIteration

    async def _begin(self) -> None:
        self._refuse_inside()
        work = self._work
        found = await keysets.keyset(work.conn, work.scope.schema, *self._way)
        self._keyset = found
        if work.inline:
            return
        schema, version = work.scope.schema, work.migration.version
        along = (found.table.partition(".")[2], *found.columns)
        begun = await backfills.begin(work.conn, schema, version, self.name, along)
        if begun.total is None:
            total = keysets.rows(await work.conn.fetchval(found.estimate))
            begun = replace(begun, total=total)
        if begun.cursor is not None:
            self._after = tuple(await work.conn.fetchrow(found.read(), begun.cursor))
        self._mark, self.is_done = begun, begun.finished

    def _refuse_inside(self) -> None:
        if (other := self._work.open) is not None:
            raise MigrationError(
                f"the loop over {self.name} begins in the middle of a batch of {other.name}: "
                "let one loop end before the next one begins"
            )
        if self._work.conn.is_in_transaction() and not self._work.inline:
            raise MigrationError(
                f"the loop over {self.name} begins inside a transaction of the file's own: each "
                "batch is one by itself, so end yours before"
            )

    async def _batch(self) -> Batch | None:
        work, way = self._work, self._keyset
        assert way is not None  # noqa: S101 - for mypy: the loop has begun
        self._began = monotonic()
        if not work.inline:
            await self._begin_transaction()
        query = way.next(begun=bool(self._after))
        columns = tuple(await work.conn.fetchrow(query, self._size, *self._after))
        if columns[0] is None:
            await self._finish()
            return None
        last = tuple(column[-1] for column in columns)
        rows = len(columns[0])
        moved = replace(self._mark, done=self._mark.done + rows)
        if not work.inline:
            cursor = await backfills.move(work.conn, self._mark, last, way.parameters(7), rows)
            moved = replace(moved, cursor=cursor)
        self._next, self._after = moved, last
        return Batch(work.lent, columns)

    async def _begin_transaction(self) -> None:
        work = self._work
        self.scope = replace(work.scope, marker=secrets.token_hex(8))
        self._transaction = work.conn.transaction(isolation="read_committed", readonly=False)
        await self._transaction.start()
        for statement in self.scope.local(work.migration.directives):
            await work.conn.execute(statement)

    async def _end_batch(self, moved: Mark) -> None:
        work = self._work
        if work.inline:
            self._mark, self._next = moved, None
            return
        await work.conn.execute(self.scope.check())
        await self._transaction.commit()
        self._mark, self._next = moved, None
        work.watch(
            Backfilling(
                work.scope.schema.name,
                f"{work.migration.name} {self.name}",
                moved.done,
                moved.total,
            )
        )
        await self._rest(monotonic() - self._began)

    async def _finish(self) -> None:
        if not self._work.inline:
            await backfills.finish(self._work.conn, self._mark)
            await self._transaction.commit()

    async def _rest(self, took_seconds: float) -> None:
        """Pause, the longer the longer the batch took; then take more or fewer rows."""
        self._size = self._pace.next(self._size, took_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._work.stop.wait(), self._pace.pause(took_seconds))
