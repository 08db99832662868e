"""A file that is no single transaction: one statement after the other, each told in the ledger.

What can be in a transaction is, together with its row: it is never in doubt. Of the rest a row says
that it was begun, and then that it is done; where a crash comes between, the catalog is asked.
"""

import contextlib
import re
from collections.abc import Callable

import asyncpg

from tenancy.migrate.ledger import steps
from tenancy.migrate.ledger.records import Failure
from tenancy.migrate.ledger.steps import Attempt, Place
from tenancy.migrate.upgrade import script, truth
from tenancy.migrate.upgrade.change import BEGIN, Change
from tenancy.migrate.upgrade.scope import timeouts
from tenancy.migrate.upgrade.script import MigrationFailedError, NeedsDecisionError
from tenancy.migrate.upgrade.session import UNLIMITED_SECONDS, is_lost
from tenancy.migrate.upgrade.truth import Truth
from tenancy.migrate.upgrade.units import Means, Run, Unit, cut
from tenancy.migrate.upgrade.way import Way

# The server's refusal to take a statement in a transaction; nothing of it was done.
_ONLY_OUTSIDE = {"25001", "2D000"}
_OWN_LIMIT = re.compile(r"SET (SESSION )?(LOCK_TIMEOUT|STATEMENT_TIMEOUT)\b")


class Outside:
    """The statements of one such file in one schema, on a session that is its alone.

    Args:
        place: of the file in the ledger.
        done: told after each statement that was done now.
    """

    def __init__(
        self, conn: asyncpg.Connection, change: Change, place: Place, done: Callable[[], None]
    ) -> None:
        self._conn = conn
        self._change = change
        self._file = place
        self._done = done
        self._limited: set[str] = set()  # by the file itself

    async def run(self) -> None:
        """Do what is not done yet. The session keeps what the file has set.

        Raises:
            NeedsDecisionError: nobody can tell whether a statement was done.
            MigrationFailedError: a statement failed, or was changed after it was begun.
            AlreadyAppliedError: somebody else is at it.
        """
        units = cut(self._migration.source)
        begun = await steps.of_file(self._conn, self._file)
        self._refuse_changed(units, begun)
        await script.all_of(self._conn, self._change.scope.session())
        for unit in units:
            step = begun.get(unit.number)
            if unit.way is Run.SETTING:
                await self._set(unit)
            elif step is None or not step.finished:
                await self._limit(unit)
                await self._do(unit, step)
                self._done()

    @property
    def _migration(self) -> Way:
        return self._change.way

    def _place(self, unit: Unit) -> Place:
        return Place(self._file.schema, self._file.version, self._file.direction, unit.number)

    async def _set(self, unit: Unit) -> None:
        if own := _OWN_LIMIT.match(unit.statement.words):
            self._limited.add(own[2])
        await self._execute(unit)

    async def _limit(self, unit: Unit) -> None:
        """Set the timeouts: a statement that waits by its nature has none, if none was asked."""
        directives = self._migration.directives
        lock, statement = timeouts(directives)
        for name, asked, usual in (
            ("LOCK_TIMEOUT", directives.lock_timeout, lock),
            ("STATEMENT_TIMEOUT", directives.statement_timeout, statement),
        ):
            if name not in self._limited:
                limit = 0 if unit.concurrent and asked is None else usual
                await self._conn.execute(f"SET {name} = {limit:d}")

    async def _do(self, unit: Unit, step: Attempt | None) -> None:
        if unit.way is Run.INSIDE and step is None and await self._inside(unit):
            return
        if step is not None and await self._is_done(unit, step):
            await self._finish(unit)
            return
        await self._outside(unit, step)

    async def _inside(self, unit: Unit) -> bool:
        """Run *unit* in a transaction with its row; return false if it can only run outside."""
        place, run_id = self._place(unit), self._change.run_id
        try:
            await self._conn.execute(BEGIN)
            await self._conn.execute(steps.done(place, unit.digest, run_id))
            await self._execute(unit)
            await self._conn.execute(self._change.scope.check())
            await self._conn.execute("COMMIT", timeout=self._seconds(unit))
        except MigrationFailedError as error:
            is_block = unit.parts != (unit.statement,)  # which is one transaction or nothing
            if is_block or getattr(error.__cause__, "sqlstate", None) not in _ONLY_OUTSIDE:
                raise
            await self._conn.execute("ROLLBACK")
            return False
        except asyncpg.PostgresError as error:
            self._refuse(unit, error)
            raise
        return True

    async def _is_done(self, unit: Unit, step: Attempt) -> bool:
        """Whether *unit*, which was begun as *step*, is done; false: it is to be run again."""
        if step.again or self._migration.directives.idempotent:
            return False
        found = await truth.look(self._conn, self._file.schema, unit, step)
        if found is Truth.UNKNOWN:
            raise NeedsDecisionError(self._doubt(unit, step))
        return found is Truth.DONE

    async def _outside(self, unit: Unit, step: Attempt | None) -> None:
        schema, conn = self._file.schema, self._conn
        place, run_id = self._place(unit), self._change.run_id
        before = step.indexes if step else await truth.indexes(conn, schema, unit)
        try:
            cleared = await truth.clear(conn, schema, unit, step.indexes if step else None)
            if step is None:
                await conn.execute(steps.begin(place, unit.digest, run_id, before))
            else:
                again = steps.begin_again(place, step, run_id)
                await conn.execute(self._change.scope.check(again))
        except asyncpg.PostgresError as error:
            self._refuse(unit, error)
            raise
        if not cleared:
            await self._attempt(unit, before)
        await self._finish(unit)

    async def _attempt(self, unit: Unit, before: tuple[int, ...] | None) -> None:
        try:
            await self._execute(unit)
        except MigrationFailedError:
            # It was answered, so it is not in doubt; but a procedure may have committed before.
            if unit.means is not Means.UNKNOWN or self._is_whole(unit):
                with contextlib.suppress(asyncpg.PostgresError):  # the next attempt does it too
                    await truth.clear(self._conn, self._file.schema, unit, before)
                await self._conn.execute(steps.forget(self._place(unit)))
            raise

    def _is_whole(self, unit: Unit) -> bool:
        calls = unit.statement.words.startswith(("CALL ", "DO"))
        return not calls or self._migration.directives.idempotent

    async def _finish(self, unit: Unit) -> None:
        try:
            await self._conn.execute(self._change.scope.check(steps.finish(self._place(unit))))
        except asyncpg.PostgresError as error:
            self._refuse(unit, error)
            raise

    async def _execute(self, unit: Unit) -> None:
        for part in unit.parts:
            await script.execute(self._conn, self._migration, part, self._seconds(unit))

    def _seconds(self, unit: Unit) -> float:
        unlimited = unit.concurrent and self._migration.directives.statement_timeout is None
        own = "STATEMENT_TIMEOUT" in self._limited
        return UNLIMITED_SECONDS if unlimited or own else script.timeout_seconds(self._migration)

    def _refuse(self, unit: Unit, error: asyncpg.PostgresError) -> None:
        """Raise what *error* means, where it is of the SQL around a statement."""
        if is_lost(error):
            return
        if steps.is_begun(error):
            raise script.overtaken(self._change) from error
        script.refuse(self._change, error)
        raise script.failed_at(self._migration, error, unit.statement.start) from error

    def _refuse_changed(self, units: tuple[Unit, ...], begun: dict[int, Attempt]) -> None:
        texts = {unit.number: unit.digest for unit in units}
        for number, step in sorted(begun.items()):
            if texts.get(number) != step.statement:
                raise script.broken(
                    self._migration,
                    f"its statement {number} was begun at {step.started_at:%Y-%m-%d %H:%M:%S %Z} "
                    "and changed since then: restore it as it was; what follows it may change",
                )

    def _doubt(self, unit: Unit, step: Attempt) -> Failure:
        migration, who = self._migration, self._change.facts.slug or self._file.schema.name
        command = (
            f"python -m tenancy.migrate resolve {who} --version {migration.version} "
            f"--step {unit.number}"
        )
        return Failure(
            migration.version,
            migration.source.place(unit.statement.start),
            f"{script.head(unit.statement)}: begun at {step.started_at:%Y-%m-%d %H:%M:%S %Z}, and "
            f"nobody saw its end. Look whether it was done; then say `{command} --done`, or "
            f"`{command} --again` to run it once more",
        )
