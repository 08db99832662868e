"""A wave's files in parts: those that are no single transaction by themselves; pure.

CREATE INDEX CONCURRENTLY waits for every transaction in the database that began before it, in
whichever schema. So no other worker is in the middle of a file meanwhile, and few build at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from tenancy.migrate.files.model import Migration


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the pending files, applied to all schemas of a wave before the next one.

    Attributes:
        versions: of its files, in order.
        transactional: whether each file is one transaction.
    """

    versions: tuple[str, ...]
    transactional: bool

    @property
    def until(self) -> str:
        """The last version of it."""
        return self.versions[-1]

    def concerns(self, pending: Iterable[Migration]) -> bool:
        """Whether a schema with these files *pending* has something to do in it."""
        return any(self.versions[0] <= one.version <= self.until for one in pending)


def split(pending: Iterable[Sequence[Migration]]) -> tuple[Phase, ...]:
    """Return the phases in which schemas with these files *pending* are brought up together."""
    every = {id(files): files for files in pending}  # schemas at one place share one tuple
    files = {one.version: one for some in every.values() for one in some}
    ordered = (files[version] for version in sorted(files))
    return tuple(
        Phase(tuple(one.version for one in part), transactional)
        for transactional, part in groupby(ordered, key=lambda one: one.directives.transactional)
    )
