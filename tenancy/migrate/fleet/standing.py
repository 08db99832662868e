"""What a schema's position means for a run; pure."""

from collections.abc import Sequence

from tenancy.migrate.plan.chain import Position, Verdict
from tenancy.migrate.plan.steps import Step
from tenancy.migrate.report.outcomes import Outcome, Result


def is_workable(step: Step) -> bool:
    """Whether something can be applied to the schema."""
    return step.standing.oid is not None and step.position.verdict is Verdict.BEHIND


def unworkable(step: Step) -> Result:
    """Return what came of a schema to which nothing can be applied."""
    standing, position = step.standing, step.position
    name = (standing.stage, standing.name, standing.tenant)
    if standing.oid is None:
        reason = "the schema does not exist: delete the tenant, or restore it"
        return Result(*name, Outcome.FAILED, reason=reason)
    return Result(*name, outcome_of(position, []), reason=position.reason)


def outcome_of(position: Position, applied: Sequence[str]) -> Outcome:
    """Return what came of a schema that stands at *position* after these versions were applied."""
    if position.verdict.refused:
        return Outcome.REFUSED
    if applied:
        return Outcome.APPLIED
    return Outcome.AHEAD if position.verdict is Verdict.AHEAD else Outcome.CURRENT
