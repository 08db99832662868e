"""What a rehearsal has seen, as values; pure."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from tenancy.migrate.ledger.records import Failure


class How(StrEnum):
    """Where the files were tried."""

    CLONE = "clone"  # a scratch schema with the tenant's structure and no rows
    ROLLED_BACK = "rolled back"  # the tenant's own schema


class Blocks(IntEnum):
    """What traffic waits for a lock, as far as it is the traffic of an application."""

    NOTHING = 0
    WRITES = 1
    EVERYTHING = 2


# "Table-Level Lock Modes" in the documentation, chapter Explicit Locking.
BLOCKS = {
    "ShareLock": Blocks.WRITES,
    "ShareRowExclusiveLock": Blocks.WRITES,
    "ExclusiveLock": Blocks.WRITES,
    "AccessExclusiveLock": Blocks.EVERYTHING,
}
WORDS = {Blocks.WRITES: "writes", Blocks.EVERYTHING: "reads and writes"}


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock on a table that was there before.

    Attributes:
        table: its name; with its schema where that is not the tenant's.
        mode: PostgreSQL's name for it, as in pg_locks.
    """

    table: str
    mode: str

    @property
    def blocks(self) -> Blocks:
        """What waits for it."""
        return BLOCKS.get(self.mode, Blocks.NOTHING)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A relation whose file was written anew.

    Attributes:
        size: in bytes, afterwards.
        rows: estimated; None: nobody has counted them yet.
    """

    name: str
    size: int
    rows: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One statement, or one Python file, tried.

    Attributes:
        place: ``<stage>/<file>:<line>:<column>``.
        head: its first words.
        rows: that it says it has changed; None: it says nothing.
        locks: those it was the first to take in its file, or to take harder.
        built: indexes it made on tables that were there before.
        concurrent: it was run without the CONCURRENTLY that it has: its locks are not told.
    """

    place: str
    head: str
    seconds: float
    rows: int | None = None
    locks: tuple[Lock, ...] = ()
    rewritten: tuple[Rewrite, ...] = ()
    built: tuple[str, ...] = ()
    concurrent: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """One file, tried.

    Attributes:
        skipped: why it was not; empty: it was.
        outside: what it has changed outside of the clone, where that was taken back.
        transactional: whether its locks are held to its end; else to each statement's.
    """

    label: str
    steps: tuple[Step, ...] = ()
    failure: Failure | None = None
    skipped: str = ""
    transactional: bool = True
    outside: str = ""

    @property
    def seconds(self) -> float:
        """Of all its statements."""
        return sum(step.seconds for step in self.steps)

    @property
    def blocked(self) -> dict[str, tuple[Blocks, float]]:
        """For each table what waits, and for how many seconds: until COMMIT."""
        found: dict[str, tuple[Blocks, float]] = {}
        for at, step in enumerate(self.steps):
            until = len(self.steps) if self.transactional else at + 1
            left = sum(one.seconds for one in self.steps[at:until])
            for lock in step.locks:
                before, since = found.get(lock.table, (Blocks.NOTHING, 0.0))
                if lock.blocks:
                    found[lock.table] = max(before, lock.blocks), max(since, left)
        return found


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it for one tenant.

    Attributes:
        version: where the tenant stands; empty: nowhere.
        advanced: sequences that gave out numbers, which no rollback takes back, and how many.
    """

    tenant: str
    schema: str
    how: How
    version: str
    tried: tuple[Tried, ...]
    advanced: tuple[tuple[str, int], ...] = ()

    @property
    def failure(self) -> Failure | None:
        """The first one."""
        return next((one.failure for one in self.tried if one.failure), None)

    @property
    def seconds(self) -> float:
        """Of all statements."""
        return sum(one.seconds for one in self.tried)
