"""What lint finds, and the rules it finds it by, as values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tenancy.migrate.files.model import Stage
from tenancy.migrate.lint.unit import Unit

EVERYWHERE = frozenset({Stage.SHARED, Stage.TENANT})
TENANT = frozenset({Stage.TENANT})


class Level(StrEnum):
    """How much a finding weighs.

    An error breaks in some tenant, or reaches out of it; a warning may block traffic, or surprise.
    """

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a file should not say.

    Attributes:
        why: what happens where it is said; a sentence without its full stop.
        instead: what to write.
        stages: whose files it is for.
        find: yields the offset of each place; None: the migrator's reader finds it, when it loads.
    """

    name: str
    level: Level
    why: str
    instead: str
    find: Callable[[Unit], Iterator[int]] | None = None
    stages: frozenset[Stage] = TENANT


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place in a file that a rule speaks of.

    Attributes:
        label: ``<stage>/<file name>``.
        line, column: from 1; the column is counted in characters.
    """

    label: str
    line: int
    column: int
    rule: str
    level: Level
    why: str
    instead: str

    @property
    def place(self) -> str:
        """``<stage>/<file>:<line>:<column>``."""
        return f"{self.label}:{self.line}:{self.column}"
