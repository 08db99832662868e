"""What can be told of a schema while its upgrade is under way, as values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A statement waits for a lock.

    Attributes:
        seconds: for how long it has.
        blocker: who holds the lock, in words: a server process and its application's name.
    """

    schema: str
    seconds: float
    blocker: str


@dataclass(frozen=True, slots=True)
class Backfilling:
    """A backfill has committed a batch.

    Attributes:
        done: rows so far, in all runs.
        total: rows, estimated; None: unknown.
    """

    schema: str
    name: str
    done: int
    total: int | None


Event = Waiting | Backfilling
