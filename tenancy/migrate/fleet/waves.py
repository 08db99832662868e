"""Who comes first: the canary, then wave after wave; pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from tenancy.migrate.fleet.amounts import Amount
from tenancy.migrate.plan.steps import Step

# With fewer, a mistake in a file is seen as soon without one.
CANARY_FROM = 20


@dataclass(frozen=True, slots=True)
class Wave:
    """Schemas that are brought up together, before any of the next wave.

    Attributes:
        number: 0 is the canary.
    """

    number: int
    steps: tuple[Step, ...]

    @property
    def canary(self) -> bool:
        """Whether one failure in it stops the run."""
        return self.number == 0


def cut(steps: Sequence[Step], canary: str | None, size: Amount | None) -> list[Wave]:
    """Return *steps* in waves of *size*, all in one without it, after the *canary*.

    Args:
        steps: in the order in which they are to come.
        canary: ``0``: none; a number, a share or slugs; None: one of more than `CANARY_FROM`.
        size: of the other waves.
    """
    first = _canary(steps, canary)
    chosen = {step.standing.key for step in first}
    others = iter([step for step in steps if step.standing.key not in chosen])
    each = max(1, size.rounded_up(len(steps))) if size else max(1, len(steps))
    waves = [Wave(0, tuple(first))] if first else []
    while wave := tuple(islice(others, each)):
        waves.append(Wave(waves[-1].number + 1 if waves else 1, wave))
    return waves


def slugs(canary: str | None) -> tuple[str, ...]:
    """Return the tenants that *canary* names, if it names any."""
    if canary is None or canary[:1].isdigit():
        return ()
    return tuple(filter(None, (slug.strip() for slug in canary.split(","))))


def _canary(steps: Sequence[Step], canary: str | None) -> list[Step]:
    named = slugs(canary)
    if named:
        return [step for step in steps if step.standing.tenant in named]
    if canary is None:
        count = int(len(steps) > CANARY_FROM)
    else:
        count = Amount.parse(canary).rounded_up(len(steps))
    return _typical(steps)[:count]


def _typical(steps: Sequence[Step]) -> list[Step]:
    """Return *steps* with those that stand where most stand, and did not fail last time, first."""
    standing = Counter(step.standing.digest for step in steps)
    return sorted(
        steps,
        key=lambda step: (step.standing.failure is not None, -standing[step.standing.digest]),
    )
