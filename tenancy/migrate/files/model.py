"""A stage's files as values: what is to be applied, in which order."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

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


def chained(previous: str, version: str, checksum: str) -> str:
    """Return the digest of a chain which goes on after *previous* with one more file."""
    return hashlib.sha256(f"{previous}{version}{checksum}".encode()).hexdigest()


def target(migrations: tuple[Migration, ...]) -> str:
    """Return the digest of a schema to which all *migrations* were applied."""
    return migrations[-1].digest if migrations else ""
