"""What a check is, and what it finds."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tenancy.settings import Isolation, Settings


class Level(StrEnum):
    """How bad it is; with a fault, a promise of SECURITY.md is not kept."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class By(StrEnum):
    """Who carries a cure out, and where."""

    OWNER = "as the owner of the schemas"
    SUPERUSER = "as a superuser"
    SHELL = "in a shell"
    ENVIRONMENT = "in the environment"
    POOLER = "in the pooler's configuration"


Grade = Callable[[Settings], Level | None]


def fault(_: Settings) -> Level | None:
    """At every isolation level."""
    return Level.FAULT


def warning(_: Settings) -> Level | None:
    """At every isolation level."""
    return Level.WARNING


def fault_with_roles(settings: Settings) -> Level | None:
    """Not asked at level ``schema``, where requests run with the login's own rights."""
    return Level.FAULT if settings.isolation.sets_role else None


def fault_if_strict(settings: Settings) -> Level | None:
    """A warning below level ``strict``."""
    return Level.FAULT if settings.isolation is Isolation.STRICT else Level.WARNING


def warning_below_strict(settings: Settings) -> Level | None:
    """Not asked at level ``strict``, whose walls include it."""
    return None if settings.isolation is Isolation.STRICT else Level.WARNING


@dataclass(frozen=True, slots=True)
class Check:
    """One question to the catalogs.

    Attributes:
        id: stable name.
        what: the fault in words, when there is one.
        sql: SELECT of ``name`` and ``cure`` (or NULL), a row for each thing that is wrong; it reads
            the tables that `catalogs` puts before it. A cure is one statement on each line.
        grade: the level of a finding at these settings; None: the question is not asked.
        by: who carries the cures out.
        advice: what to think of first.
    """

    id: str
    what: str
    sql: str
    grade: Grade = fault
    by: By = By.OWNER
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        id: of the check.
        level: ``ok`` where nothing was found.
        what: in words.
        count: things found.
        names: the first of them; tenants by slug, never a row.
        cures: for those, exact statements or commands.
        by: who carries them out.
        advice: what to think of first.
    """

    id: str
    level: Level
    what: str
    count: int = 0
    names: tuple[str, ...] = ()
    cures: tuple[str, ...] = ()
    by: By = By.OWNER
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return {
            "id": self.id,
            "level": str(self.level),
            "what": self.what,
            "count": self.count,
            "names": list(self.names),
            "cures": list(self.cures),
            "by": str(self.by) if self.cures else None,
            "advice": self.advice or None,
        }
