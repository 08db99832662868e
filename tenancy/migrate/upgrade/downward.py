"""One schema's way back: its newest file first, each with its place in the ledger."""

from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.model import Language, Migration, Stage
from tenancy.migrate.ledger import checkpoints, reversals, steps
from tenancy.migrate.ledger.records import Facts, History, Move, SchemaRef
from tenancy.migrate.ledger.steps import Direction, Place
from tenancy.migrate.plan import back, chain
from tenancy.migrate.report.events import Event
from tenancy.migrate.upgrade import lock, script
from tenancy.migrate.upgrade.applying import commit, content, filled
from tenancy.migrate.upgrade.change import BEGIN, Change, Reversal
from tenancy.migrate.upgrade.outside import Outside
from tenancy.migrate.upgrade.persistent import Persistent
from tenancy.migrate.upgrade.scope import Scope
from tenancy.migrate.upgrade.session import FORGET, Session


class Downgrade(Persistent):
    """One schema being taken back to an earlier version.

    Args:
        to: the version that is to be the newest; empty: nothing is to stay.
        watch: told of what takes long while it is under way.

    Attributes:
        reversed: versions that were taken back and committed, also when it failed later.
    """

    def __init__(  # noqa: PLR0913 - what is to be done, then how, by name
        self,
        session: Session,
        schema: SchemaRef,
        migrations: tuple[Migration, ...],
        run_id: UUID | None,
        *,
        shared: str,
        to: str,
        watch: Callable[[Event], None] | None = None,
    ) -> None:
        super().__init__(session, schema, watch)
        self.reversed: list[str] = []
        self._migrations = migrations
        self._run_id = run_id
        self._shared = shared
        self._to = to
        self._unanswered: str | None = None

    async def run(self) -> None:
        """Take back what is above the version, again where that can help.

        Raises:
            MigrationRefusedError: as `wanted`; nothing was taken back.
            MigrationFailedError: a file failed; those before it are taken back.
            NeedsDecisionError: a statement's outcome is in doubt.
            LockHeldError: somebody else is at this schema.
            DatabaseUnavailableError: the server cannot be reached.
        """
        await self._persist(self._locked)

    async def _locked(self, conn: asyncpg.Connection) -> None:
        async with lock.of_schema(conn, self._schema, Stage.TENANT) as held:
            facts, digest = held.facts, held.facts.digest
            history = await checkpoints.history(conn, self._schema.oid)
            unfinished = await steps.unfinished(conn, self._schema.oid)
            pending = wanted(self._migrations, digest, history, self._to, unfinished)
            lost, self._unanswered = self._unanswered, None
            if lost is not None and lost not in history.applied:
                self.reversed.append(lost)
            for migration in pending:
                history = history.without(migration.version)
                move = Move(digest, history.digest, history.newest)
                await self._step(conn, self._change(migration, facts, move))
                digest = history.digest

    def _change(self, migration: Migration, facts: Facts, move: Move) -> Reversal:
        scope = Scope(self._schema, migration.stage, self._shared, facts.role)
        return Reversal(scope, migration, facts, move, self._run_id)

    async def _step(self, conn: asyncpg.Connection, change: Reversal) -> None:
        self._at = change.migration
        if change.way.directives.transactional:
            await filled(conn, change, change.begun, lambda: content(conn, change, self._told))
        else:
            change = await self._outside(conn, change)
            await filled(conn, change, change.begun, None)
        self._unanswered = change.migration.version
        await commit(conn, change.way)
        self._unanswered = None
        self.reversed.append(change.migration.version)
        self._progressed()
        await script.all_of(conn, FORGET)

    async def _outside(self, conn: asyncpg.Connection, change: Reversal) -> Reversal:
        """Do what the file says; until its end the checkpoint lets nobody else begin anything."""
        migration, facts = change.migration, change.facts
        mark = reversals.unfinished(migration.version)
        if change.move.before != mark:
            await self._mark(conn, change, mark)
        if migration.language is Language.PYTHON:
            await content(conn, change, self._told)
        else:
            place = Place(self._schema, migration.version, Direction.DOWN)
            await Outside(conn, change, place, self._progressed).run()
        await script.all_of(conn, FORGET)
        move = change.move
        return self._change(migration, facts, Move(mark, move.after, move.version))

    async def _mark(self, conn: asyncpg.Connection, change: Change, mark: str) -> None:
        move = Move(change.move.before, mark, change.migration.version)
        moved = checkpoints.moved(self._schema, change.migration.stage, move)
        local = change.scope.local(change.way.directives)
        try:
            await script.all_of(conn, [BEGIN, *local, change.scope.check(moved), "COMMIT"])
        except asyncpg.PostgresError as error:
            script.refuse(change, error)
            raise


def wanted(
    migrations: tuple[Migration, ...],
    digest: str,
    history: History,
    to: str,
    unfinished: Sequence[str],
) -> tuple[Migration, ...]:
    """Return what has to be taken back, newest first.

    Args:
        migrations: all files of tenants.
        digest: of the schema's checkpoint.
        history: its rows.
        to: the version that is to be the newest.
        unfinished: versions of which a part was done; what is below would be taken from under it.

    Raises:
        MigrationRefusedError: as `plan.back.reversal`; or a file is half-way up; or the ledger
            contradicts itself.
    """
    found = back.reversal(migrations, history, to)
    files = {migration.version for migration in migrations}
    if found and (above := [one for one in unfinished if one > to and one in files]):
        raise MigrationRefusedError(
            f"{above[0]}: a part of it was done, and would be taken for done afterwards: "
            "let `up` come to its end first"
        )
    if digest == reversals.unfinished(history.newest):
        if not found:
            raise MigrationRefusedError(
                f"is half-way back from {history.newest}: name an earlier version"
            )
    elif digest != history.digest:
        raise MigrationRefusedError(chain.difference(migrations, digest, history).reason)
    return found
