"""What is behind in a database, and what that means, as values."""

from dataclasses import dataclass

from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.records import OddShape, Standing
from tenancy.migrate.ledger.runs import Run
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
        lacks_shared: there is no shared schema, not even an empty one.
        versions: for each stage and version, how many schemas stand there; this and what follows
            only of a status.
        shapes: schemas with another shape than others that have the same files.
        last_run: the run that began last.
        holder: who holds the lock of a run, in words; empty: nobody does.
        unfit: pending files that are refused, each with the reason.
    """

    empty: bool
    steps: tuple[Step, ...]
    lacks_shared: bool = False
    versions: tuple[tuple[Stage, str, int], ...] = ()
    shapes: tuple[OddShape, ...] = ()
    last_run: Run | None = None
    holder: str = ""
    unfit: tuple[tuple[str, str], ...] = ()

    def of(self, *verdicts: Verdict) -> list[Step]:
        """Return the steps with one of *verdicts*."""
        return [step for step in self.steps if step.position.verdict in verdicts]

    @property
    def refused(self) -> list[Step]:
        """The schemas to which nothing can be applied before somebody has looked at them."""
        return [step for step in self.steps if step.position.verdict.refused]
