"""When a run is stopped because of what fails; pure."""

from dataclasses import dataclass

from tenancy.migrate.fleet.amounts import Amount
from tenancy.migrate.report.outcomes import Outcome, Result

ALIKE = 3


@dataclass(slots=True)
class StopRule:
    """Counts the failures of a run.

    Attributes:
        limit: how many may fail; None: any number.
        total: schemas in the run; a limit in per cent is a share of them.
        alike: so many in a row with one SQLSTATE at one version stop the run: the file is at fault,
            not a tenant. Those that failed so the last time tell nothing new. 0: not counted.
    """

    limit: Amount | None
    total: int
    alike: int = ALIKE
    failed: int = 0
    _last: tuple[str, str | None] | None = None
    _row: int = 0

    def __post_init__(self) -> None:
        if self.limit == Amount.parse("100%"):
            self.alike = 0  # whatever happens

    def seen(self, result: Result, *, canary: bool = False, again: bool = False) -> str:
        """Return why *result* stops the run; empty: it does not.

        Args:
            result: of one schema, once.
            canary: it is of the canary, where the first failure stops the run.
            again: it failed there, and so, the last time too.
        """
        if result.outcome not in {Outcome.FAILED, Outcome.NEEDS_DECISION}:
            if result.applied:
                self._last, self._row = None, 0
            return ""
        if canary:
            return "the canary failed"
        if result.outcome is Outcome.NEEDS_DECISION:  # left over from a crash, no file's fault
            return ""
        self.failed += 1
        if self.limit is not None and self.failed > self.limit.rounded_down(self.total):
            return f"{self.failed} of {self.total} failed, more than is allowed"
        return "" if again else self._in_a_row(result)

    def _in_a_row(self, result: Result) -> str:
        failure = result.failure
        if failure is None:
            return ""
        same = (failure.version, failure.sqlstate)
        self._row = self._row + 1 if same == self._last else 1
        self._last = same
        if self.alike and self._row >= self.alike:
            code = f" [{failure.sqlstate}]" if failure.sqlstate else ""
            return f"{self._row} in a row failed alike at {failure.version}{code}"
        return ""
