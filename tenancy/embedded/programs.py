"""PostgreSQL's own client programs, such as pg_dump, fit for a server's version."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tenancy.embedded import binaries
from tenancy.errors import DatabaseSetupError

ANSWER_SECONDS = 10.0


def program(name: str, major: int) -> Path:
    """Return the program *name* of the lowest version that can work on a server of *major*.

    It is looked for on PATH, in the wheel of PostgreSQL's binaries and where systems keep them. A
    program writes what its own version would, so the lowest gives one text on many machines.

    Raises:
        DatabaseSetupError: there is none of that version or a later one.
    """
    on_path = shutil.which(name)
    places = [programs / name for programs in (*binaries.wheel(), *binaries.system())]
    places = [Path(on_path), *places] if on_path else places
    versions = [(_major(place), place) for place in dict.fromkeys(places)]
    fit = [(found, place) for found, place in versions if found >= major]
    if fit:
        return min(fit, key=lambda one: one[0])[1]
    older = max((found for found, _ in versions), default=0)
    raise DatabaseSetupError(
        f"the server is PostgreSQL {major} and "
        + (f"the {name} here is of {older}" if older else f"there is no {name} here")
        + f": install PostgreSQL {major}'s client programs, or put its {name} on PATH"
    )


def _major(place: Path) -> int:
    """Return the version of the program at *place*; 0: it is not there, or does not run."""
    if not os.access(place, os.X_OK):
        return 0
    try:
        answer = subprocess.run(  # noqa: S603 - one of PostgreSQL's own directories
            [place, "--version"], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r"\) (\d+)", answer)  # "pg_dump (PostgreSQL) 18.4"
    return int(match[1]) if match else 0
