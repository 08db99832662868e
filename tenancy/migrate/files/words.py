"""Long lists in words for people; pure."""

from collections.abc import Sequence

SHOWN = 5  # names in a line


def some(names: Sequence[str]) -> str:
    """Return the first of *names*, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def span(names: Sequence[str]) -> str:
    """Return *names*, which are in order; of many how many, with the first and the last."""
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{len(names):,} files, {names[0]} to {names[-1]}"
