"""What a run would look like: its waves and the phases of its files; pure."""

from dataclasses import dataclass

from tenancy.migrate.files.model import Stage
from tenancy.migrate.files.words import SHOWN
from tenancy.migrate.fleet import phases, waves
from tenancy.migrate.fleet.amounts import Amount
from tenancy.migrate.fleet.options import Options
from tenancy.migrate.fleet.phases import Phase
from tenancy.migrate.fleet.standing import is_workable
from tenancy.migrate.plan.steps import Survey


@dataclass(frozen=True, slots=True)
class Outline:
    """A run as it would be led.

    Attributes:
        canary: how many schemas come first, and must not fail.
        waves: how many are in each wave after that.
        phases: the parts of the files, each of which is applied to a whole wave before the next.
    """

    canary: int
    waves: tuple[int, ...]
    phases: tuple[Phase, ...]


def outline(found: Survey, options: Options) -> Outline:
    """Return how a run with *options* would bring up what *found* says is behind."""
    steps = [step for step in found.steps if step.standing.stage is Stage.TENANT]
    steps = [step for step in steps if is_workable(step)]
    size = Amount.parse(options.wave_size) if options.wave_size else None
    cut = waves.cut(steps, options.canary, size)
    return Outline(
        sum(len(wave.steps) for wave in cut if wave.canary),
        tuple(len(wave.steps) for wave in cut if not wave.canary),
        phases.split(step.position.pending for step in steps),
    )


def lines(made: Outline, options: Options) -> list[str]:
    """Return *made* in words, where it is more than all at once."""
    said = []
    if made.canary or len(made.waves) > 1:
        parts = [f"a canary of {made.canary}"] if made.canary else []
        parts += [_sizes(made.waves)] if made.waves else []
        soak = f", {options.soak_seconds:g} s apart" if options.soak_seconds else ""
        said.append(f"in waves: {', then '.join(parts)}{soak}")
    if len(made.phases) > 1 or any(not phase.transactional for phase in made.phases):
        parts = [_part(phase, options) for phase in made.phases[:SHOWN]]
        more = len(made.phases) - len(parts)
        parts += [f"and {more:,} more"] if more else []
        said += [f"in parts: {'; '.join(parts)}"]
    return said


def _sizes(sizes: tuple[int, ...]) -> str:
    if len(sizes) == 1:
        return f"{sizes[0]} at once"
    last = f" (the last of {sizes[-1]})" if sizes[-1] != sizes[0] else ""
    return f"{len(sizes)} waves of {sizes[0]}{last}"


def _part(phase: Phase, options: Options) -> str:
    first, last = phase.versions[0], phase.until
    versions = first if first == last else f"{first} to {last}"
    if phase.transactional:
        return f"{versions}, {options.parallel} schemas at a time"
    return f"{versions}, no single transaction, {options.parallel_concurrent} at a time"


def as_json(made: Outline, options: Options) -> dict[str, object]:
    """Return *made* as members of a JSON object."""
    return {
        "canary": made.canary,
        "waves": made.waves,
        "parts": [
            {
                "versions": phase.versions,
                "transactional": phase.transactional,
                "parallel": options.parallel
                if phase.transactional
                else options.parallel_concurrent,
            }
            for phase in made.phases
        ],
    }
