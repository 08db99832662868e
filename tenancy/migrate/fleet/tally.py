"""What has come of the schemas of a run so far, and who is told."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tenancy.migrate.report.events import Finished, RunEvent
from tenancy.migrate.report.outcomes import Result

Watch = Callable[[Result, int], None]
Observe = Callable[[RunEvent], None]


@dataclass(slots=True)
class Tally:
    """The results of a run.

    Attributes:
        left: schemas known to be behind, without a result.
    """

    watch: Watch | None = None
    observe: Observe | None = None
    results: list[Result] = field(default_factory=list)
    left: int = 0

    def note(self, result: Result) -> None:
        """Keep *result*, and tell it."""
        self.results.append(result)
        self.skip()
        if self.watch is not None:
            self.watch(result, self.left)
        self.tell(Finished(result, self.left))

    def skip(self) -> None:
        """Count a schema that another runner brought up, or is not there any more, as done."""
        self.left = max(0, self.left - 1)

    def tell(self, event: RunEvent) -> None:
        """Tell *event* to whoever observes the run."""
        if self.observe is not None:
            self.observe(event)

    @property
    def faulty(self) -> bool:
        """Whether somebody has to look at one of them."""
        return any(result.faulty for result in self.results)
