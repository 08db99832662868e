"""What became of each row, in Jepsen's manner: acknowledged, uncertain or failed; and the audit."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Books:
    """The rows of a test, each of which is written once if at all, by what its client was told.

    Attributes:
        acknowledged: the client was told "saved": there, once.
        uncertain: it was told that nobody knows: there once, or not.
        failed: it was told otherwise: not there; what it was told, by row.
    """

    acknowledged: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    def audit(self, found: Iterable[str]) -> dict[str, int]:
        """Return how the rows *found* differ from the books, and by how many rows."""
        rows = Counter(found)
        there = set(rows)
        return {
            "lost": len(self.acknowledged - there),
            "doubled": sum(rows.values()) - len(rows),
            "unaccounted": len(there - self.acknowledged - self.uncertain),
        }

    def suspects(self, found: Iterable[str]) -> list[str]:
        """Return some of the rows *found* that should not be there, and what was said of them."""
        there = set(found) - self.acknowledged - self.uncertain
        return [f"{row}: {self.failed.get(row, 'nobody wrote it')}" for row in sorted(there)[:10]]

    def sums(self) -> dict[str, int]:
        return {
            "acknowledged": len(self.acknowledged),
            "uncertain": len(self.uncertain),
            "failed": len(self.failed),
        }


def told(title: str, figures: Mapping[str, object]) -> None:
    """Print *figures* in one line."""
    print(f"{title}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
