"""What is behind in a database, and what that means, as values."""

from dataclasses import dataclass

from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.records import Standing
from tenancy.migrate.plan.chain import Position, Verdict


@dataclass(frozen=True, slots=True)
class Step:
    """A schema that does not stand at the target, and what that means for it."""

    standing: Standing
    position: Position


@dataclass(frozen=True, slots=True)
class Survey:
    """A database at one moment.

    Attributes:
        empty: nothing was ever applied: there is no catalog, so no tenant either.
        steps: every schema that does not stand at the target, stage by stage.
        versions: for each stage and version, how many schemas stand there; only of a status.
        lacks_shared: there is no shared schema, not even an empty one.
    """

    empty: bool
    steps: tuple[Step, ...]
    versions: tuple[tuple[Stage, str, int], ...] = ()
    lacks_shared: bool = False

    def of(self, *verdicts: Verdict) -> list[Step]:
        """Return the steps with one of *verdicts*."""
        return [step for step in self.steps if step.position.verdict in verdicts]

    @property
    def refused(self) -> list[Step]:
        """The schemas to which nothing can be applied before somebody has looked at them."""
        return [step for step in self.steps if step.position.verdict.refused]
