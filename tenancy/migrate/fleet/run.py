"""A whole run: catalog, then the shared schema, then every tenant, many at a time."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar
from uuid import UUID

import asyncpg

from tenancy.identifiers import CATALOG_SCHEMA
from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Files, Stage
from tenancy.migrate.fleet.crew import until_done
from tenancy.migrate.ledger import checkpoints, runs
from tenancy.migrate.ledger.records import Failure, SchemaRef
from tenancy.migrate.plan.chain import Position, Verdict
from tenancy.migrate.plan.steps import Step, Survey
from tenancy.migrate.plan.survey import behind, refuse_changed, survey
from tenancy.migrate.report.outcomes import Ending, Outcome, Report, Result
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.catalog import make_catalog, make_shared
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.migrate.upgrade.runner import Upgrade
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

PARALLEL = 4
GRACE_SECONDS = 30.0
LAST_WORDS_SECONDS = 2.0

Read = TypeVar("Read")
Watch = Callable[[Result, int], None]


async def up(  # noqa: PLR0913 - the options of the command, by name
    settings: Settings,
    *,
    parallel: int = PARALLEL,
    tenants: Sequence[str] = (),
    grace_seconds: float = GRACE_SECONDS,
    stop: asyncio.Event | None = None,
    watch: Watch | None = None,
) -> Report:
    """Bring every schema to what the files say; one that fails does not stop the others.

    Cancelling rolls back what is under way. What has been applied stays, and is not done again.

    Args:
        settings: where the database and the files are.
        parallel: tenants at a time, each on a connection of its own.
        tenants: slugs; the catalog and the shared schema are brought up besides. Empty: all.
        grace_seconds: how long those under way may go on after *stop*.
        stop: set it to begin no more schemas; the report is then interrupted.
        watch: called with each result, and with how many schemas are known to be left.

    Raises:
        MigrationFileError: a file is refused; the database was not touched.
        MigrationRefusedError: a file was changed after it was applied; nothing was applied.
        RunLockHeldError: another run is migrating this database.
        UnknownTenantError: no tenant has one of the slugs.
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: it cannot be reached or used.
    """
    files = load_all(settings)
    async with Session(settings) as control:
        run = _Run(settings, files, control, tuple(tenants), parallel, grace_seconds)
        run.stop = stop or run.stop
        run.watch = watch or run.watch
        return await run.go()


@dataclass(slots=True)
class _Run:
    """One run. Its control connection holds the lock and reads the fleet; workers do the rest."""

    settings: Settings
    files: Files
    control: Session
    slugs: tuple[str, ...]
    parallel: int
    grace_seconds: float
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    watch: Watch = field(default=lambda _result, _left: None)
    run_id: UUID | None = None
    results: list[Result] = field(default_factory=list)
    left: int = 0
    locked: asyncpg.Connection | None = None

    async def go(self) -> Report:
        started = monotonic()
        found = await self._survey()
        refuse_changed(found)
        await self._make_schemas(found)
        run_id = self.run_id = await self._read(runs.start_run)
        try:
            await self._stages()
            report = await self._report(run_id, started)
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            await self._last_words(run_id, Ending.INTERRUPTED if cancelled else Ending.FAILED)
            raise
        await self._read(lambda conn: runs.finish_run(conn, run_id, report.ending))
        return report

    async def _read(self, operation: Callable[[asyncpg.Connection], Awaitable[Read]]) -> Read:
        """Run *operation* under the run's lock, which a lost connection has lost too."""

        async def locked(conn: asyncpg.Connection) -> Read:
            if conn is not self.locked:
                await lock.take_run(conn)
                self.locked = conn
            return await operation(conn)

        return await self.control.query(locked)

    async def _survey(self) -> Survey:
        shared = self.settings.shared_schema
        return await self._read(lambda conn: survey(conn, self.files, shared, self.slugs))

    async def _make_schemas(self, found: Survey) -> None:
        started = monotonic()
        shared = self.settings.shared_schema
        async with Session(self.settings) as session:
            if found.empty:
                versions = tuple(await make_catalog(session, self.files.catalog))
                outcome = Outcome.APPLIED if versions else Outcome.CURRENT
                seconds = monotonic() - started
                self._note(
                    Result(Stage.CATALOG, CATALOG_SCHEMA, None, outcome, versions, seconds=seconds)
                )
            if await self._read(lambda conn: checkpoints.schema(conn, shared)) is None:
                await make_shared(session, shared)

    async def _stages(self) -> None:
        for stage in Stage:
            await self._stage(stage)
            if any(result.faulty for result in self.results) and stage is not Stage.TENANT:
                return  # what comes after is built on it

    async def _stage(self, stage: Stage) -> None:
        """Bring up the schemas of *stage*, and those that appear meanwhile, each one once."""
        seen: set[tuple[str, int | None]] = set()
        while not self.stop.is_set():
            fresh = [step for step in await self._behind(stage) if step.standing.key not in seen]
            if not fresh:
                return
            seen.update(step.standing.key for step in fresh)
            self.left = len(fresh)
            for step in fresh:
                if not _is_workable(step):
                    self._note(_unworkable(step))
            queue = deque(step for step in fresh if _is_workable(step))
            hands = min(self.parallel, len(queue))
            work = [self._worker(queue) for _ in range(hands)]
            await until_done(work, self.stop, self.grace_seconds)

    async def _behind(self, stage: Stage) -> list[Step]:
        shared = self.settings.shared_schema
        return await self._read(lambda conn: behind(conn, self.files, stage, shared, self.slugs))

    async def _worker(self, queue: deque[Step]) -> None:
        async with Session(self.settings) as session:
            while queue and not self.stop.is_set():
                self._note(await self._upgraded(session, queue.popleft()))
                await session.recycle()

    async def _upgraded(self, session: Session, step: Step) -> Result:
        started = monotonic()
        stage, shared = step.standing.stage, self.settings.shared_schema
        schema = SchemaRef(step.standing.oid or 0, step.standing.name)  # workable: it has one
        upgrade = Upgrade(session, schema, self.files.of(stage), self.run_id, shared=shared)
        failure: Failure | None = None
        try:
            position = await upgrade.run()
            outcome, reason = _outcome(position, upgrade.applied), position.reason
        except (MigrationFailedError, LockHeldError) as error:
            failure = _failure(error, step)
            outcome, reason = await self._failed(session, schema, failure), ""
        return Result(
            stage,
            schema.name,
            step.standing.tenant,
            outcome,
            tuple(upgrade.applied),
            failure if outcome is Outcome.FAILED else None,
            reason,
            monotonic() - started,
        )

    async def _failed(self, session: Session, schema: SchemaRef, failure: Failure) -> Outcome:
        if await session.query(lambda conn: checkpoints.schema(conn, schema.name)) != schema:
            return Outcome.GONE
        await session.query(lambda conn: runs.fail(conn, schema, failure, self.run_id))
        return Outcome.FAILED

    def _note(self, result: Result) -> None:
        self.results.append(result)
        self.left = max(0, self.left - 1)
        self.watch(result, self.left)

    async def _report(self, run_id: UUID, started: float) -> Report:
        interrupted = self.stop.is_set()
        left = 0
        if interrupted or any(result.faulty for result in self.results):
            tried = {(result.stage, result.schema) for result in self.results}
            pending = (await self._survey()).of(Verdict.BEHIND)
            left = sum((step.standing.stage, step.standing.name) not in tried for step in pending)
        seconds = monotonic() - started
        return Report(run_id, tuple(self.results), seconds, left, interrupted=interrupted)

    async def _last_words(self, run_id: UUID, ending: Ending) -> None:
        with contextlib.suppress(Exception):  # what ended the run matters more
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._read(lambda conn: runs.finish_run(conn, run_id, ending))


def _is_workable(step: Step) -> bool:
    return step.standing.oid is not None and step.position.verdict is Verdict.BEHIND


def _unworkable(step: Step) -> Result:
    standing, position = step.standing, step.position
    name = (standing.stage, standing.name, standing.tenant)
    if standing.oid is None:
        reason = "the schema does not exist: delete the tenant, or restore it"
        return Result(*name, Outcome.FAILED, reason=reason)
    return Result(*name, _outcome(position, []), reason=position.reason)


def _outcome(position: Position, applied: Sequence[str]) -> Outcome:
    if position.verdict.refused:
        return Outcome.REFUSED
    if applied:
        return Outcome.APPLIED
    return Outcome.AHEAD if position.verdict is Verdict.AHEAD else Outcome.CURRENT


def _failure(error: MigrationFailedError | LockHeldError, step: Step) -> Failure:
    if isinstance(error, MigrationFailedError):
        return error.failure
    first = step.position.pending[0]
    return Failure(first.version, first.source.label, str(error))
