"""What `verify` finds, as values; pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tenancy.exits import Exit
from tenancy.migrate.ledger.members import Member
from tenancy.migrate.shape.differences import Difference


@dataclass(frozen=True, slots=True)
class Shape:
    """What tenants are compared by.

    Attributes:
        digest: of the files applied, as in the checkpoint.
        fingerprint: of the schema that came of them.
    """

    digest: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Odd:
    """Tenants of one shape that are not like the others with the same files."""

    slugs: tuple[str, ...]
    version: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with tenants, whatever the others are like.

    Attributes:
        serious: whether somebody has to do something about it; else it may be meant.
    """

    slugs: tuple[str, ...]
    words: str
    serious: bool = True


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of comparing a fleet.

    Attributes:
        against: what the tenants were compared with, in words.
        alike: how many tenants of each version are as they should be.
        odd: those that are not.
        left_out: slugs of those that were not compared, and why.
    """

    against: str
    alike: Mapping[str, int] = field(default_factory=dict)
    odd: tuple[Odd, ...] = ()
    faults: tuple[Fault, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def differing(self) -> int:
        """How many tenants are not like the others."""
        return sum(len(one.slugs) for one in self.odd)

    @property
    def exit_code(self) -> Exit:
        """0: all are alike, and nothing is wrong with any."""
        wrong = self.odd or any(fault.serious for fault in self.faults)
        return Exit.FAILED if wrong else Exit.CURRENT


def references(shapes: Iterable[Shape]) -> dict[str, str]:
    """Return for each digest the fingerprint that most tenants have; of equal ones the lowest."""
    found: dict[str, tuple[int, str]] = {}
    for shape, count in Counter(shapes).items():
        rank = (-count, shape.fingerprint)
        found[shape.digest] = min(found.get(shape.digest, rank), rank)
    return {digest: fingerprint for digest, (_, fingerprint) in found.items()}


def grouped(taken: Mapping[Member, Shape]) -> dict[Shape, list[Member]]:
    """Return the tenants of each shape."""
    found: dict[Shape, list[Member]] = {}
    for member, shape in taken.items():
        found.setdefault(shape, []).append(member)
    return found
