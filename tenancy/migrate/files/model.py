"""A stage's files as values: what is to be applied, in which order."""

import bisect
import difflib
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

from tenancy.errors import UnknownVersionError
from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.source import Source


class Stage(StrEnum):
    """Which schemas a file is for, in the order in which stages run."""

    CATALOG = "catalog"
    SHARED = "shared"
    TENANT = "tenant"


class Language(StrEnum):
    """What a file is written in."""

    SQL = "sql"
    PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Part:
    """One direction of a file: its text, and how it asks to be run."""

    source: Source
    directives: Directives


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, ready to run.

    Attributes:
        version: its digits as written; a stage's files have equally many, so they sort as text.
        checksum: sha256 of the text without its BOM, line ends' spelling and trailing blanks.
        previous: digest of all files before this one; empty for the first.
        source, directives: of the way up.
        down: the way back; None: there is none.
        path: where a Python file is loaded from; None for SQL.
    """

    stage: Stage
    version: str
    name: str
    checksum: str
    previous: str
    source: Source
    directives: Directives
    down: Part | None = None
    path: Path | None = None

    @property
    def language(self) -> Language:
        """What it is written in."""
        return Language.PYTHON if self.path else Language.SQL

    @property
    def digest(self) -> str:
        """Names this file with its whole past: sha256 of *previous*, *version* and *checksum*."""
        return chained(self.previous, self.version, self.checksum)


class Files(NamedTuple):
    """The files of every stage, each in the order of their versions."""

    catalog: tuple[Migration, ...]
    shared: tuple[Migration, ...]
    tenant: tuple[Migration, ...]

    def of(self, stage: Stage) -> tuple[Migration, ...]:
        """Return the files of *stage*."""
        return {Stage.CATALOG: self.catalog, Stage.SHARED: self.shared}.get(stage, self.tenant)

    @property
    def digest(self) -> str:
        """Names all files of all stages: two builds with the same digest do the same."""
        return hashlib.sha256(
            " ".join(target(self.of(stage)) for stage in Stage).encode()
        ).hexdigest()

    def until(self, version: str) -> Self:
        """Return these files without those of the tenant stage that come after *version*.

        Leading zeros may be left out.

        Raises:
            UnknownVersionError: no file of the tenant stage has this version.
        """
        known = [migration.version for migration in self.tenant]
        wanted = version.zfill(len(known[0])) if known else version
        if wanted not in known:
            raise UnknownVersionError(
                f"no tenant file has the version {version!r}{_near(wanted, known)}"
            )
        return self._replace(tenant=self.tenant[: known.index(wanted) + 1])


def chained(previous: str, version: str, checksum: str) -> str:
    """Return the digest of a chain which goes on after *previous* with one more file."""
    return hashlib.sha256(f"{previous}{version}{checksum}".encode()).hexdigest()


def target(migrations: tuple[Migration, ...]) -> str:
    """Return the digest of a schema to which all *migrations* were applied."""
    return migrations[-1].digest if migrations else ""


def _near(wanted: str, known: list[str]) -> str:
    """Return the versions on both sides of *wanted*, and the one it may be a slip of."""
    if not known:
        return ": there are none"
    at = bisect.bisect(known, wanted)
    near = {
        *known[max(0, at - 1) : at + 1],
        *difflib.get_close_matches(wanted, known, n=1, cutoff=0.8),
    }
    return f"; the nearest: {', '.join(sorted(near))}"
