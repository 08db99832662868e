"""One tenant's pending files, tried: in a clone, or rolled back in its own schema."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import asyncpg

from tenancy.errors import MigrationError, MigrationFileError
from tenancy.migrate.files.model import Files, Migration, Stage
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.ledger.selection import Selection
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Step as Behind
from tenancy.migrate.plan.steps import Survey
from tenancy.migrate.plan.survey import survey
from tenancy.migrate.rehearsal.records import How, Rehearsal, Tried
from tenancy.migrate.rehearsal.relations import Sight, sequences
from tenancy.migrate.rehearsal.restless import refuse_setval
from tenancy.migrate.rehearsal.trying import Trial, replay
from tenancy.migrate.rehearsal.undone import undone
from tenancy.migrate.upgrade import elsewhere, lock, script
from tenancy.migrate.upgrade.change import BEGIN
from tenancy.migrate.upgrade.scope import Scope
from tenancy.migrate.upgrade.scratch import scratch
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import FORGET, Session
from tenancy.settings import Settings


class NotReplayableError(MigrationError):
    """The files that a tenant has do not make its structure from nothing."""

    code = "migration_not_replayable"
    exit_code = 6


@dataclass(slots=True)
class Stand:
    """One tenant, whose pending files are tried."""

    settings: Settings
    session: Session
    files: Files
    found: Survey
    behind: Behind

    async def clone(self) -> Rehearsal:
        """Try the files in a scratch schema, which those before them have made.

        It is committed file by file: in one transaction all that is new would be locked already.
        """
        pending = self.behind.position.pending
        before = [one for one in self.files.tenant if one not in pending]
        tried: list[Tried] = []
        async with scratch(self.session) as schema:
            conn = await self.session.connection()
            await self._replay(conn, schema, before)
            for migration in pending:
                tried.append(await self._in_clone(conn, schema, migration))
                if tried[-1].failure or tried[-1].outside:
                    break
        return self._rehearsal(How.CLONE, tried)

    async def _replay(
        self, conn: asyncpg.Connection, schema: SchemaRef, migrations: Sequence[Migration]
    ) -> None:
        """Make the structure that the tenant has by its files; without rows but the files' own."""
        try:
            async with conn.transaction():
                for migration in migrations:
                    scope = await self._scope(conn, schema, migration)
                    await replay(conn, scope, migration)
                if outside := await elsewhere.changed(conn, [schema.name]):
                    raise NotReplayableError(
                        f"a clone cannot be made: the files write to {outside}"
                    )
        except (MigrationFailedError, MigrationFileError) as error:
            raise NotReplayableError(
                f"a clone cannot be made from the files: {error}; say --rolled-back"
            ) from error
        await script.all_of(conn, FORGET)

    async def _in_clone(
        self, conn: asyncpg.Connection, schema: SchemaRef, migration: Migration
    ) -> Tried:
        scope = await self._scope(conn, schema, migration)
        await conn.execute(BEGIN)
        tried = await self._trial(conn, scope, migration).run()
        outside = "" if tried.failure else await elsewhere.changed(conn, [schema.name])
        await conn.execute("ROLLBACK" if tried.failure or outside else "COMMIT")
        await script.all_of(conn, FORGET)
        return replace(tried, outside=outside)

    async def rolled_back(self, limit_seconds: float) -> Rehearsal:
        """Try all files in the tenant's own schema, in one transaction."""
        conn = await self.session.connection()
        schema = self._schema
        tried: list[Tried] = []
        async with lock.held(conn, schema.oid):
            pending = (*self._pending_shared(), *await self._still_pending(conn))
            refuse_setval(pending)
            numbers = await sequences(conn, schema.name)
            async with undone(conn, self.settings):
                tried = await self._in_tenant(conn, pending, perf_counter() + limit_seconds)
            after = await sequences(conn, schema.name)
        advanced = tuple(
            (name, value - numbers[oid][1])
            for oid, (name, value) in sorted(after.items())
            if oid in numbers and value != numbers[oid][1]
        )
        self.session.discard()  # a file may have left something in the session
        return self._rehearsal(How.ROLLED_BACK, tried, advanced)

    async def _still_pending(self, conn: asyncpg.Connection) -> tuple[Migration, ...]:
        """Return what is pending now that nobody else can apply it."""
        selection = Selection(tenants=(self.behind.standing.tenant or "",))
        found = await survey(conn, self.files, self._shared, selection)
        return tuple(
            one
            for step in found.of(Verdict.BEHIND)
            if step.standing.name == self._schema.name
            for one in step.position.pending
        )

    async def _in_tenant(
        self, conn: asyncpg.Connection, pending: Sequence[Migration], deadline: float
    ) -> list[Tried]:
        tried: list[Tried] = []
        sight: Sight | None = None
        for migration in pending:
            if not migration.directives.transactional:
                reason = "it is no single transaction, so it cannot be rolled back: try a clone"
                tried.append(Tried(migration.label, skipped=reason))
                continue
            scope = await self._scope(conn, self._home(migration), migration)
            trial = self._trial(conn, scope, migration, sight)
            trial.deadline, sight = deadline, trial.sight
            tried.append(await trial.run())
            if tried[-1].failure:
                break
        return tried

    def _trial(
        self,
        conn: asyncpg.Connection,
        scope: Scope,
        migration: Migration,
        sight: Sight | None = None,
    ) -> Trial:
        schemas = (scope.schema.name, self._schema.name, self._shared)
        sight = sight or Sight(conn, scope.schema.name, schemas)
        return Trial(conn, scope, migration, sight)

    async def _scope(
        self, conn: asyncpg.Connection, schema: SchemaRef, migration: Migration
    ) -> Scope:
        role = str(await conn.fetchval("SELECT current_user::text"))
        return Scope(schema, migration.stage, self._shared, role)

    def _pending_shared(self) -> tuple[Migration, ...]:
        steps = self.found.of(Verdict.BEHIND)
        return tuple(
            one
            for step in steps
            if step.standing.stage is Stage.SHARED
            for one in step.position.pending
        )

    def _home(self, migration: Migration) -> SchemaRef:
        if migration.stage is Stage.TENANT:
            return self._schema
        step = next(s for s in self.found.steps if s.standing.stage is Stage.SHARED)
        return SchemaRef(step.standing.oid or 0, step.standing.name)

    @property
    def _schema(self) -> SchemaRef:
        return SchemaRef(self.behind.standing.oid or 0, self.behind.standing.name)

    @property
    def _shared(self) -> str:
        return self.settings.shared_schema

    def _rehearsal(
        self, how: How, tried: Sequence[Tried], advanced: tuple[tuple[str, int], ...] = ()
    ) -> Rehearsal:
        standing = self.behind.standing
        return Rehearsal(
            standing.tenant or standing.name,
            standing.name,
            how,
            standing.version or "",
            tuple(tried),
            advanced,
        )
