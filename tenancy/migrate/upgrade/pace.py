"""How many rows a backfill takes at a time, and how long it rests; pure."""

from dataclasses import dataclass

from tenancy.errors import MigrationError

SMALLEST, FIRST, LARGEST = 100, 1_000, 20_000  # rows of a batch whose size is found by itself


@dataclass(frozen=True, slots=True)
class Pace:
    """How many rows are taken at a time, and how long the pauses are.

    Attributes:
        size: rows of a batch; None: as many as take *seconds*.
        rest: of the time that the batch took.
        throttle: seconds; the least.
    """

    size: int | None
    seconds: float
    rest: float
    throttle: float

    def __post_init__(self) -> None:
        wrong = (self.size or 1) < 1 or self.size == 0 or self.seconds <= 0
        if wrong or min(self.rest, self.throttle) < 0:
            raise MigrationError(
                "batches: size and seconds are above 0, rest and throttle not below"
            )

    @property
    def first(self) -> int:
        """Rows of the first batch."""
        return self.size or FIRST

    def next(self, size: int, took_seconds: float) -> int:
        """Return how many rows to take after a batch of *size*."""
        return self.size or resized(size, took_seconds, self.seconds)

    def pause(self, took_seconds: float) -> float:
        """Return how many seconds to wait after a batch."""
        return max(self.throttle, self.rest * took_seconds)


def resized(size: int, seconds: float, wanted_seconds: float) -> int:
    """Return how many rows to take next, where *size* took *seconds*: at most twice or half."""
    factor = min(2.0, max(0.5, wanted_seconds / max(seconds, 1e-6)))
    return min(LARGEST, max(SMALLEST, round(size * factor)))
