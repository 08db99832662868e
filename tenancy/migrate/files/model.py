"""A stage's files as values: what is to be applied, in which order."""

import bisect
import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from tenancy.errors import UnknownVersionError
from tenancy.migrate.files import parts, python
from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.parts import Part
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source
from tenancy.migrate.files.versions import spelled


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
class Written:
    """A file's text before anybody has looked into it.

    Attributes:
        source: the way up, and in most spellings the way down too.
        down: the way down where that is a file of its own.
        free: of a tool that begins no transaction for it, see `parts.read`.
        path: where a Python file is loaded from; None for SQL.
        reading: where it will run.
    """

    source: Source
    down: Source | None
    free: bool
    path: Path | None
    reading: Callable[[], Reading]


@dataclass(frozen=True)
class Migration:
    """One file.

    Only its name and checksum are known at first. *source*, *directives* and *down* read the text
    when they are asked for, and check it then: what they give may be run. Most files of a long
    history were applied everywhere long ago, and are never asked.

    Attributes:
        version: its digits as written; a stage's files have equally many, so they sort as text.
        checksum: sha256 of the text without its BOM, line ends' spelling and trailing blanks.
        previous: digest of all files before this one; empty for the first.
        written: the text.
        given: what goes up, where that is known without reading the text.
    """

    stage: Stage
    version: str
    name: str
    checksum: str
    previous: str
    written: Written = field(repr=False, compare=False)
    given: Part | None = field(default=None, repr=False, compare=False)

    def going(self, part: Part) -> "Migration":
        """Return it with *part* as what goes up."""
        return replace(self, given=part)

    @property
    def label(self) -> str:
        """``<stage>/<file name>``."""
        return self.written.source.label

    @property
    def path(self) -> Path | None:
        """Where a Python file is loaded from; None for SQL."""
        return self.written.path

    @property
    def language(self) -> Language:
        """What it is written in."""
        return Language.PYTHON if self.path else Language.SQL

    @property
    def digest(self) -> str:
        """Names this file with its whole past: sha256 of *previous*, *version* and *checksum*."""
        return chained(self.previous, self.version, self.checksum)

    @property
    def source(self) -> Source:
        """What goes up.

        Raises:
            MigrationFileError: as `check`.
        """
        return self._up.source

    @property
    def directives(self) -> Directives:
        """How that asks to be run.

        Raises:
            MigrationFileError: as `check`.
        """
        return self._up.directives

    @cached_property
    def down(self) -> Part | None:
        """The way back; None: there is none.

        Raises:
            MigrationFileError: it cannot be run. That is no reason not to go up.
        """
        written = self.written
        if written.path:
            return python.read(written.source)[1]
        found = parts.down(written.source, written.reading(), free=written.free)
        if written.down is None:
            return found
        if found is not None:
            raise written.source.refusal(0, f"has a way down, and {written.down.label} is another")
        return parts.only_down(written.down, written.reading())

    def check(self) -> None:
        """Pass if what goes up can be run.

        Raises:
            MigrationFileError: it cannot be understood, or holds what no migration may.
        """
        self._up  # noqa: B018 - it reads the file

    @cached_property
    def _up(self) -> Part:
        written = self.written
        if self.given is not None:
            return self.given
        if written.path:
            return python.read(written.source)[0]
        return parts.up(written.source, written.reading(), free=written.free)


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

    def check(self) -> None:
        """Pass if every file can be run.

        Raises:
            MigrationFileError: one cannot.
        """
        for stage in Stage:
            for migration in self.of(stage):
                migration.check()

    def until(self, version: str) -> Self:
        """Return these files without those of the tenant stage that come after *version*.

        Leading zeros may be left out.

        Raises:
            UnknownVersionError: no file of the tenant stage has this version.
        """
        known = [migration.version for migration in self.tenant]
        wanted = spelled(version, known)
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
