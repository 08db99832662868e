"""Versions as people write them: leading zeros may be left out; pure."""

from collections.abc import Iterable


def spelled(version: str, known: Iterable[str]) -> str:
    """Return *version* as wide as *known* ones of one folder are; whether it is one is not asked.

    As it is where there are none.
    """
    width = max(map(len, known), default=0)
    return version.lstrip("0").rjust(width, "0") if width else version
