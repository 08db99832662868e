"""Which files of a folder are migrations, which of them belong together, and which are neither."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tenancy.errors import MigrationFileError

# dbmate's, goose's, golang-migrate's, sqlx's and tern's names; the digits are ASCII.
_NAME = re.compile(
    r"(?P<version>[0-9]+)(?P<mark>[_-])(?P<name> *[^\s.].*?)(?P<way>\.up|\.down)?\.(?P<kind>sql|py)"
)
_BEGINS = re.compile(r"[0-9]+[._-]|[0-9]{4,}|[VUR][0-9_]+.*\.sql$")
_DOCUMENTS = {".md", ".txt", ".rst", ".adoc", ".sum", ".lock", ".png", ".svg", ".pdf"}
_ASIDE = {"testdata", "test", "tests", "fixtures", "seed", "seeds", "__pycache__", "node_modules"}
_HELPERS = re.compile(r"_.*|conftest|test_.*|.*_test")


@dataclass(frozen=True, slots=True)
class Entry:
    """One migration's file, and the one beside it that goes down.

    Attributes:
        free: whether its name says which way it goes, in golang-migrate's and sqlx's manner.
    """

    version: str
    name: str
    path: Path
    down: Path | None = None
    free: bool = False


def entries(folder: Path, label: str) -> list[Entry]:
    """Return the migrations in *folder* by version; *label* names the folder in errors.

    What cannot be a migration is passed over: documents, programs, folders of tests. What could be
    one, and would not be run, is refused: better that than a file nobody notices.

    Raises:
        MigrationFileError: names the file, and what to do.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise MigrationFileError(
            f"{folder} cannot be read as a folder: {error.strerror}"
        ) from error
    named = []
    for path in paths:
        match = name_of(path)
        if match:
            named.append((match, path))
        elif reason := _refusal(path):
            raise MigrationFileError(f"{label}/{path.name} {reason}")
    _refuse_widths(label, [match for match, _ in named])
    return _paired(label, named)


def name_of(path: Path) -> re.Match[str] | None:
    """Return the parts of a migration's name, if *path* is a file with one."""
    match = _NAME.fullmatch(path.name)
    if match is None or not path.name.isprintable() or (match["way"] and match["kind"] == "py"):
        return None
    return None if path.is_dir() else match


def looks_like_one(path: Path) -> bool:
    """Whether *path* is named like a migration of any tool."""
    return path.suffix in {".sql", ".py"} and _BEGINS.match(path.name) is not None


def _refusal(path: Path) -> str:
    """Return why *path*, which is no migration, may not lie there; empty if it may."""
    if path.name.startswith((".", "README")):
        return ""
    begins = _BEGINS.match(path.name) is not None
    if path.is_dir():
        return _folder_refusal(path, begins=begins)
    for at_fault, reason in _faults(path, begins=begins):
        if at_fault:
            return reason
    return ""


def _faults(path: Path, *, begins: bool) -> tuple[tuple[bool, str], ...]:
    kind = path.suffix.lower()
    is_program = kind in {".go", ".py"}
    return (
        (
            kind == ".sql",
            "is not named <version>_<name>.sql: rename it, or move it elsewhere",
        ),
        (
            kind == ".py" and not _HELPERS.fullmatch(path.stem),
            "is not named <version>_<name>.py: rename it, or begin a helper's name with _",
        ),
        (
            kind == ".go" and begins and not path.stem.endswith("_test"),
            "is a migration in Go, which only its own tool can run: write it in SQL or Python",
        ),
        (
            begins and not is_program and kind not in _DOCUMENTS,
            "begins like a migration and is neither .sql nor .py: write it so, or move it away",
        ),
    )


def _folder_refusal(path: Path, *, begins: bool) -> str:
    if begins:
        return "is a folder: migrations stand side by side, each a file, so move its text into one"
    if path.name.lower() in _ASIDE:
        return ""
    inner = next((one.name for one in sorted(path.rglob("*")) if looks_like_one(one)), None)
    return f"is a folder, and {inner} in it would not be run: move it elsewhere" if inner else ""


def _refuse_widths(label: str, names: list[re.Match[str]]) -> None:
    widest = max((len(match["version"]) for match in names), default=0)
    for match in names:
        version = match["version"]
        if len(version) < widest:
            wide = next(one for one in names if len(one["version"]) == widest)
            right = f"{version.zfill(widest)}{match.string[len(version) :]}"
            raise MigrationFileError(
                f"{label}/{match.string} has a version of {len(version)} digits and {wide.string} "
                f"one of {widest}: give all the same width, as in {right}"
            )


def _paired(label: str, named: Iterable[tuple[re.Match[str], Path]]) -> list[Entry]:
    ups: dict[str, tuple[re.Match[str], Path]] = {}
    downs: dict[str, tuple[re.Match[str], Path]] = {}
    for match, path in named:
        taken = downs if match["way"] == ".down" else ups
        if match["version"] in taken:
            raise MigrationFileError(
                f"{label}/{path.name} has the version of {taken[match['version']][1].name}: "
                "give one of them a higher number"
            )
        taken[match["version"]] = (match, path)
    for version, (_, path) in downs.items():
        if version not in ups:
            raise MigrationFileError(
                f"{label}/{path.name} goes down, and nothing is there that goes up: add the file "
                f"{path.name.removesuffix('.down.sql')}.up.sql, or remove this one"
            )
    return [
        Entry(
            version,
            match["name"],
            path,
            downs[version][1] if version in downs else None,
            match["way"] is not None,
        )
        for version, (match, path) in sorted(ups.items())
    ]
