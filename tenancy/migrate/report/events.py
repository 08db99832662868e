"""What can be told of a run while it is under way, as values."""

from dataclasses import dataclass
from uuid import UUID

from tenancy.migrate.files.model import Stage
from tenancy.migrate.report.outcomes import Result


@dataclass(frozen=True, slots=True)
class Waiting:
    """A statement waits for a lock.

    Attributes:
        seconds: for how long it has.
        blocker: who holds the lock, in words: a server process and its application's name.
    """

    schema: str
    seconds: float
    blocker: str


@dataclass(frozen=True, slots=True)
class Backfilling:
    """A backfill has committed a batch.

    Attributes:
        done: rows so far, in all runs.
        total: rows, estimated; None: unknown.
    """

    schema: str
    name: str
    done: int
    total: int | None


Event = Waiting | Backfilling


@dataclass(frozen=True, slots=True)
class Started:
    """A run has begun, and knows what it has to do.

    Attributes:
        command: up or resume; join: it shares the work of a run that another process began.
        schemas: how many tenants are behind.
        waves: in how many waves they come, the canary's included.
    """

    run_id: UUID
    command: str
    schemas: int
    waves: int


@dataclass(frozen=True, slots=True)
class WaveBegun:
    """A wave has begun.

    Attributes:
        number: 0 is the canary.
        phases: the last version of each part of its files, in which all its schemas go together.
    """

    number: int
    schemas: int
    phases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WaveEnded:
    """All schemas of a wave have been tried.

    Attributes:
        failed: how many of them are not where they should be.
        soak_seconds: the pause that follows.
    """

    number: int
    failed: int
    seconds: float
    soak_seconds: float


@dataclass(frozen=True, slots=True)
class Begun:
    """A schema's upgrade has begun."""

    stage: Stage
    schema: str
    tenant: str | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A schema's upgrade has ended.

    Attributes:
        left: how many schemas are known to be left.
    """

    result: Result
    left: int


RunEvent = Event | Started | WaveBegun | WaveEnded | Begun | Finished
