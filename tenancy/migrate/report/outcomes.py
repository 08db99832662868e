"""What came of it, as values and exit codes; pure."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from signal import SIGTERM
from uuid import UUID

from tenancy.errors import MigrationError
from tenancy.exits import Exit
from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.records import Failure
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Survey


class Outcome(StrEnum):
    """What came of one schema."""

    APPLIED = "applied"
    CURRENT = "current"  # somebody else was faster
    AHEAD = "ahead"
    GONE = "gone"
    FAILED = "failed"
    NEEDS_DECISION = "needs-decision"
    REFUSED = "refused"


class Ending(StrEnum):
    """What came of a run; the values of ``tenancy.runs.outcome``."""

    CURRENT = "current"
    FAILED = "failed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"  # by the rule for failures

    @property
    def cut_short(self) -> bool:
        """Whether it did not come to all that it was to do."""
        return self in {Ending.INTERRUPTED, Ending.STOPPED}


_FAULTY = frozenset({Outcome.FAILED, Outcome.NEEDS_DECISION, Outcome.REFUSED})


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one schema.

    Attributes:
        applied: versions applied to it in this run, also where a later one failed.
        failure: where the outcome is failed or needs-decision.
        reason: in words, where the outcome is ahead, gone or refused.
        shape: says that its shape is another than that of others with the same files.
    """

    stage: Stage
    schema: str
    tenant: str | None
    outcome: Outcome
    applied: tuple[str, ...] = ()
    failure: Failure | None = None
    reason: str = ""
    seconds: float = 0.0
    shape: str = ""

    @property
    def named(self) -> str:
        """The tenant's slug with its schema, or the name of a schema that is no tenant's."""
        return f"{self.tenant} ({self.schema})" if self.tenant else self.schema

    @property
    def why(self) -> str:
        """The failure or the reason in words."""
        return str(self.failure) if self.failure else self.reason

    @property
    def faulty(self) -> bool:
        """Whether somebody has to look at it."""
        return self.outcome in _FAULTY


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run.

    Attributes:
        run_id: None: nothing was pending, so there was no run.
        results: one for each schema that was not at the target.
        left: schemas known to be behind that the run did not come to.
        stopped: why the rule for failures stopped the run; empty: it did not.
        strict_shape: whether a shape that differs is a failure.
    """

    run_id: UUID | None
    results: tuple[Result, ...]
    seconds: float
    left: int = 0
    interrupted: bool = False
    stopped: str = ""
    strict_shape: bool = False

    @property
    def ending(self) -> Ending:
        """The whole in one word; what asks for a person comes first."""
        outcomes = {result.outcome for result in self.results}
        if self.interrupted:
            return Ending.INTERRUPTED
        if self.stopped:
            return Ending.STOPPED
        if Outcome.REFUSED in outcomes:
            return Ending.REFUSED
        misshapen = self.strict_shape and any(result.shape for result in self.results)
        failed = bool(outcomes & _FAULTY) or misshapen or self.left > 0
        return Ending.FAILED if failed else Ending.CURRENT

    def exit_code(self, signal: int = SIGTERM) -> int:
        """Return the command's exit code, where *signal* is what interrupted it."""
        if self.ending is Ending.INTERRUPTED:
            return 128 + signal
        return Exit[self.ending.name]

    def raise_for_failures(self) -> None:
        """Pass if every schema is at the target or ahead of it.

        Raises:
            MigrationError: says why the first one is not, and how many are not.
        """
        if self.ending is Ending.CURRENT:
            return
        faults = [f"{result.named}: {result.why}" for result in self.results if result.faulty]
        shapes = [f"{result.named}: {result.shape}" for result in self.results if result.shape]
        raise MigrationError("; ".join([summary(self), *[*faults, *shapes][:1]]))


def summary(report: Report) -> str:
    """Return the run in one line."""
    counts = Counter(result.outcome for result in report.results)
    parts = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
    parts += [f"{report.left} left"] if report.left else []
    words = {
        Ending.CURRENT: "all at the target",
        Ending.FAILED: "some failed",
        Ending.REFUSED: "some refused",
        Ending.INTERRUPTED: "interrupted",
        Ending.STOPPED: f"stopped, {report.stopped}",
    }[report.ending]
    return f"{words}: {', '.join(parts)}" if parts else words


def survey_exit(found: Survey, *, check: bool) -> Exit:
    """Return the exit code of `plan`; pending work is an error only for a *check*."""
    if found.refused:
        return Exit.REFUSED
    return Exit.PENDING if check and found.of(Verdict.BEHIND) else Exit.CURRENT
