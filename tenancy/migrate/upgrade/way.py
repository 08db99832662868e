"""What of a file is run: the way up, which a migration is itself, or its way back."""

from dataclasses import dataclass
from typing import Protocol

from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Migration
from tenancy.migrate.files.source import Source


class Way(Protocol):
    """One direction of a file."""

    @property
    def version(self) -> str:
        """Of the file."""

    @property
    def source(self) -> Source:
        """What is run."""

    @property
    def directives(self) -> Directives:
        """How it asks to be run."""


@dataclass(frozen=True, slots=True)
class Back:
    """The way back of a file that has one."""

    version: str
    source: Source
    directives: Directives


def back(migration: Migration) -> Back:
    """Return the way back of *migration*, which has one (`plan.back`)."""
    part = migration.down
    if part is None:
        raise LookupError(f"{migration.source.label} has no way back")
    return Back(migration.version, part.source, part.directives)
