"""One schema's part in a run: what came of it."""

import asyncio
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from tenancy.migrate.files.model import Files, Stage
from tenancy.migrate.fleet.context import Context
from tenancy.migrate.fleet.shapes import Shapes
from tenancy.migrate.fleet.standing import outcome_of
from tenancy.migrate.fleet.tally import Tally
from tenancy.migrate.ledger import checkpoints, runs
from tenancy.migrate.ledger.records import Failure, SchemaRef
from tenancy.migrate.plan.steps import Step
from tenancy.migrate.report.events import Begun
from tenancy.migrate.report.outcomes import Outcome, Result
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.batches import BackfillStoppedError
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.migrate.upgrade.runner import Upgrade
from tenancy.migrate.upgrade.script import MigrationFailedError, NeedsDecisionError
from tenancy.migrate.upgrade.session import APPLICATION_NAME, Session


@dataclass(frozen=True, slots=True)
class Upgrader:
    """Brings up one schema after another, and never raises what is a tenant's alone."""

    files: Files
    shared: str
    run_id: UUID | None
    tally: Tally
    stop: asyncio.Event
    shapes: Shapes

    async def upgraded(
        self, session: Session, step: Step, until: str | None = None
    ) -> Result | None:
        """Return what came of the schema of *step*; None: it is another runner's, or is left.

        Nothing after the version *until* is applied.
        """
        started = monotonic()
        standing = step.standing
        schema = SchemaRef(standing.oid or 0, standing.name)  # workable: it has one
        self.tally.tell(Begun(standing.stage, schema.name, standing.tenant))
        upgrade = Upgrade(
            session,
            schema,
            self.files.of(standing.stage),
            self.run_id,
            shared=self.shared,
            until=until,
            watch=self.tally.tell,
            stop=self.stop,
        )
        failure: Failure | None = None
        shape = ""
        try:
            position = await upgrade.run()
            outcome, reason = outcome_of(position, upgrade.applied), position.reason
            if outcome is Outcome.APPLIED and _is_last(step, until) and self.shapes.wanted():
                shape = await session.query(
                    lambda conn: self.shapes.look(conn, schema, upgrade.applied[-1])
                )
        except BackfillStoppedError:
            if not upgrade.applied:
                return None
            outcome, reason = Outcome.APPLIED, ""
        except LockHeldError as error:
            if await self._ours(session, schema):
                return None
            failure, reason = _unlocked(error, step), ""
            outcome = await self._failed(session, schema, failure, Outcome.FAILED)
        except MigrationFailedError as error:
            failure, reason = error.failure, ""
            doubt = isinstance(error, NeedsDecisionError)
            outcome = await self._failed(
                session, schema, failure, Outcome.NEEDS_DECISION if doubt else Outcome.FAILED
            )
        return Result(
            standing.stage,
            schema.name,
            standing.tenant,
            outcome,
            tuple(upgrade.applied),
            None if outcome is Outcome.GONE else failure,
            reason,
            monotonic() - started,
            shape,
        )

    async def _failed(
        self, session: Session, schema: SchemaRef, failure: Failure, outcome: Outcome
    ) -> Outcome:
        if await session.query(lambda conn: checkpoints.schema(conn, schema.name)) != schema:
            return Outcome.GONE
        await session.query(lambda conn: runs.fail(conn, schema, failure, self.run_id))
        return outcome

    async def _ours(self, session: Session, schema: SchemaRef) -> bool:
        """Whether a migrator holds the lock of *schema*, or has just let go of it."""
        held_by = await session.query(lambda conn: lock.held_by(conn, schema.oid))
        return held_by in {None, APPLICATION_NAME}


def upgrader(context: Context) -> Upgrader:
    """Return what brings up one schema of this run after the other."""
    context.shapes.one_in = context.options.shapes_one_in
    return Upgrader(
        context.files,
        context.settings.shared_schema,
        context.run_id,
        context.tally,
        context.brake.pulled,
        context.shapes,
    )


def _is_last(step: Step, until: str | None) -> bool:
    """Whether a tenant's schema has all its files, when it has those up to *until*."""
    last = until is None or step.position.pending[-1].version <= until
    return last and step.standing.stage is Stage.TENANT


def _unlocked(error: LockHeldError, step: Step) -> Failure:
    first = step.position.pending[0]
    return Failure(first.version, first.source.label, str(error))
