"""Which files to look at: those named, those that git says are new, those that are pending."""

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tenancy.errors import TenancyError
from tenancy.exits import Exit
from tenancy.migrate.files.model import Files, Migration, Stage
from tenancy.migrate.files.parts import Part
from tenancy.migrate.lint.opening import opened
from tenancy.migrate.plan.steps import Survey

GIT_SECONDS = 30.0


class NotAFileOfOursError(TenancyError):
    """A file is asked for that is no migration of this deployment."""

    code = "no_migration"
    exit_code = Exit.USAGE


def every(files: Files) -> tuple[Migration, ...]:
    """Return the application's files; the catalog's are tenancy's own."""
    return (*files.shared, *files.tenant)


def named(files: Files, folder: Path, paths: Sequence[Path]) -> tuple[Migration, ...]:
    """Return the files at *paths*, each written as a path, or as ``<stage>/<file>``.

    Raises:
        NotAFileOfOursError: there is no migration at one of them.
    """
    wanted = {str(path): path.resolve() for path in paths}
    found: dict[str, Migration] = {}
    for migration in every(files):
        at = _path(folder, migration)
        for text, path in wanted.items():
            if text == migration.label or path == at:
                found[text] = migration
    missing = [text for text in wanted if text not in found]
    if missing:
        raise NotAFileOfOursError(
            f"{missing[0]} is no migration: the files of this deployment are in {folder}"
        )
    return _ordered(files, found.values())


def since(files: Files, folder: Path, reference: str) -> tuple[Migration, ...]:
    """Return the files that differ from those at git's *reference*, or that git does not know.

    Raises:
        NotAFileOfOursError: git is not there, or knows no such reference.
    """
    against = ("diff", "--name-only", "-z", "--relative", "--diff-filter=d", reference, "--")
    changed = _git(folder, *against) | _git(
        folder, "ls-files", "--others", "--exclude-standard", "-z"
    )
    some = [one for one in every(files) if _path(folder, one) in changed]
    return _ordered(files, some)


def tolerant(files: Files) -> Files:
    """Return *files* so that none is refused: to ask who has them, never to run them."""

    def one(migration: Migration) -> Migration:
        found = opened(migration)
        return migration.going(Part(found.source, found.directives)) if found.refused else migration

    return Files(*(tuple(map(one, files.of(stage))) for stage in Stage))


def pending(files: Files, found: Survey) -> tuple[Migration, ...]:
    """Return the files that some schema does not have."""
    return _ordered(files, (one for step in found.steps for one in step.position.pending))


def _path(folder: Path, migration: Migration) -> Path:
    """Return where *migration* is; in a folder without stages all files are the tenant's."""
    name = migration.label.partition("/")[2]
    staged = folder / migration.stage / name
    return (staged if staged.exists() else folder / name).resolve()


def _ordered(files: Files, some: Iterable[Migration]) -> tuple[Migration, ...]:
    wanted = {one.label for one in some if one.stage is not Stage.CATALOG}
    return tuple(one for one in every(files) if one.label in wanted)


def _git(folder: Path, *arguments: str) -> set[Path]:
    program = shutil.which("git")
    if program is None:
        raise NotAFileOfOursError("git is not installed: name the files instead")
    done = subprocess.run(  # noqa: S603 - git itself; the reference is the caller's
        [program, "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=GIT_SECONDS,
        check=False,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()[:1] or ["it says nothing"]
        raise NotAFileOfOursError(f"git does not tell what is new: {words[0]}")
    return {(folder / name).resolve() for name in done.stdout.split("\0") if name}
