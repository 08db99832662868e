"""One schema's way to the target: lock, read the ledger, and one transaction per file."""

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg

from tenancy.migrate.files.model import Language, Migration, Stage
from tenancy.migrate.ledger import checkpoints, stamp
from tenancy.migrate.ledger.checkpoints import AlreadyAppliedError
from tenancy.migrate.ledger.records import Facts, History, Move, SchemaRef
from tenancy.migrate.ledger.steps import Direction, Place
from tenancy.migrate.plan import chain
from tenancy.migrate.plan.chain import Position, Verdict
from tenancy.migrate.report.events import Event
from tenancy.migrate.upgrade import lock, script, whole
from tenancy.migrate.upgrade.applying import apply, commit, content, filled
from tenancy.migrate.upgrade.change import Change, readable
from tenancy.migrate.upgrade.lock import Held
from tenancy.migrate.upgrade.outside import Outside
from tenancy.migrate.upgrade.persistent import Persistent
from tenancy.migrate.upgrade.scope import Scope
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import FORGET, Session

__all__ = ["Upgrade", "apply", "readable"]


class Upgrade(Persistent):
    """One schema being brought to the end of its stage's files.

    Args:
        until: the highest version to apply; None: all.
        watch: told of what takes long while it is under way.
        stop: once set, a backfill ends between two batches.

    Attributes:
        applied: versions that this upgrade has applied and committed, also when it failed later.
    """

    def __init__(  # noqa: PLR0913 - what is to be done, then how, by name
        self,
        session: Session,
        schema: SchemaRef,
        migrations: tuple[Migration, ...],
        run_id: UUID | None,
        *,
        shared: str,
        until: str | None = None,
        watch: Callable[[Event], None] | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        super().__init__(session, schema, watch)
        self.applied: list[str] = []
        self._migrations = migrations
        self._run_id = run_id
        self._shared = shared
        self._until = until
        self._stop = stop
        self._unanswered: Sequence[Change] = ()  # whose COMMIT was sent
        self._stage = migrations[0].stage if migrations else Stage.TENANT
        self._unplaced: set[str] = set()  # versions that fail at no known place
        # Those of the catalog may change what the next one's ledger rows are written with.
        self._together = self._stage is not Stage.CATALOG

    async def run(self) -> Position:
        """Apply what is pending, again where that can help; return where the schema stands then.

        Raises:
            MigrationFailedError: a file failed, or contention went on for too long.
            NeedsDecisionError: a statement's outcome is in doubt.
            BackfillStoppedError: *stop* was set.
            LockHeldError: somebody else is at this schema.
            DatabaseUnavailableError: the server cannot be reached.
        """
        return await self._persist(self._locked)

    async def _locked(self, conn: asyncpg.Connection) -> Position:
        async with lock.of_schema(conn, self._schema, self._stage) as held:
            facts = held.facts
            found, history = await self._position(conn, facts)
            await self._answered(conn, found)
            digest, rest = facts.digest, list(found.pending)
            while self._wanted(rest):
                changes = []
                for migration in self._next(rest):
                    move, history = _move(migration, digest, history)
                    changes.append(self._change(migration, facts, move))
                    digest = move.after
                del rest[: len(changes)]
                await self._step(conn, changes, held, last=not self._wanted(rest))
            return self._end(found, digest, history, tuple(rest))

    def _wanted(self, rest: Sequence[Migration]) -> Sequence[Migration]:
        """Return those of *rest* that this upgrade is to come to."""
        if self._until is None:
            return rest
        return [migration for migration in rest if migration.version <= self._until]

    def _next(self, rest: Sequence[Migration]) -> Sequence[Migration]:
        """Return what is to be done next: several files where they can go in one round trip."""
        number = whole.together(self._wanted(rest)) if self._together else 1
        return rest[: max(1, number)]

    def _end(
        self, begun: Position, digest: str, history: History | None, rest: tuple[Migration, ...]
    ) -> Position:
        if begun.verdict is not Verdict.BEHIND:
            return begun
        if rest:
            return Position(Verdict.BEHIND, rest)
        found = chain.position(self._migrations, digest)
        return found or chain.difference(self._migrations, digest, history or History({}))

    async def _position(
        self, conn: asyncpg.Connection, facts: Facts
    ) -> tuple[Position, History | None]:
        """Return where the schema stands, and its history where that is not the files'."""
        digest, said = facts.digest, stamp.read(facts.comment)
        if said and not digest:
            return chain.restored(said[0]), None
        found = chain.position(self._migrations, digest)
        if found is not None:
            return found, None
        history = await checkpoints.history(conn, self._schema.oid)
        return chain.difference(self._migrations, digest, history), history

    async def _answered(self, conn: asyncpg.Connection, found: Position) -> None:
        """Learn what has become of a COMMIT whose answer was lost."""
        lost, self._unanswered = self._unanswered, ()
        if found.verdict.refused:
            return
        for change in lost:
            if change.migration not in found.pending:
                self.applied.append(change.migration.version)
                await script.all_of(conn, change.told)

    def _change(self, migration: Migration, facts: Facts, move: Move) -> Change:
        scope = Scope(self._schema, migration.stage, self._shared, facts.role)
        return Change(scope, migration, facts, move, self._run_id)

    async def _step(
        self, conn: asyncpg.Connection, changes: list[Change], held: Held, *, last: bool
    ) -> None:
        change = changes[0]
        migration = self._at = change.migration
        python_or_unplaced = (
            migration.language is Language.PYTHON or migration.version in self._unplaced
        )
        try:
            if not migration.directives.transactional:
                await self._outside(conn, change)
            elif python_or_unplaced:
                await self._by_statement(conn, change)
            else:
                self._unanswered = changes
                held.released = await self._whole(conn, changes, last=last)
        except (MigrationFailedError, AlreadyAppliedError):
            self._unanswered = ()
            raise
        self._unanswered = ()
        self.applied.extend(change.migration.version for change in changes)
        self._progressed()

    async def _by_statement(self, conn: asyncpg.Connection, change: Change) -> None:
        await filled(
            conn, change, change.begun, lambda: content(conn, change, self._told, self._stop)
        )
        await self._commit(conn, change)

    async def _outside(self, conn: asyncpg.Connection, change: Change) -> None:
        place = Place(self._schema, change.migration.version, Direction.UP)
        if change.migration.language is Language.PYTHON:
            await content(conn, change, self._told, self._stop)
        else:
            await Outside(conn, change, place, self._progressed).run()
        await script.all_of(conn, FORGET)
        await filled(conn, change, change.begun, None)
        await self._commit(conn, change)

    async def _commit(self, conn: asyncpg.Connection, change: Change) -> None:
        self._unanswered = [change]
        await commit(conn, change.migration)
        await script.all_of(conn, FORGET)

    async def _whole(self, conn: asyncpg.Connection, changes: list[Change], *, last: bool) -> bool:
        """Apply *changes* in one round trip where that works; return whether the lock is released.

        Raises:
            UnplacedError: it failed, perhaps after something was committed.
        """
        together, self._together = self._together, False  # but where it works
        try:
            await whole.run(conn, changes, last=last)
        except whole.UnplacedError:
            if len(changes) > 1:
                raise
            self._unplaced.add(changes[0].migration.version)
            if not conn.is_in_transaction():
                raise
            self._unanswered = ()
            await script.all_of(conn, ["ROLLBACK", *FORGET])
            await self._by_statement(conn, changes[0])
            return False
        self._together = together
        return last


def _move(
    migration: Migration, digest: str, history: History | None
) -> tuple[Move, History | None]:
    """Return how *migration* moves a checkpoint at *digest*, and the history afterwards."""
    if history is None:
        return Move(digest, migration.digest, migration.version), None
    after = history.then(migration.version, migration.checksum)
    return Move(digest, after.digest, after.newest), after
