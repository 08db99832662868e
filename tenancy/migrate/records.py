"""What the ledger says of a schema, and what that means for it, as values."""

from dataclasses import dataclass
from datetime import datetime

from tenancy.migrate.chain import Position, Verdict
from tenancy.migrate.files import Stage


@dataclass(frozen=True, slots=True)
class SchemaRef:
    """A schema that exists; one dropped and made again under the same name is another."""

    oid: int
    name: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file could not be applied to a schema, without what the server quotes out of rows.

    Attributes:
        place: ``<stage>/<file>:<line>:<column>``.
        at: when; None where the ledger has not been told.
        raised: whether the message is the file's own, from RAISE or ASSERT, and may hold anything.
    """

    version: str
    place: str
    message: str
    sqlstate: str | None = None
    at: datetime | None = None
    raised: bool = False

    def __str__(self) -> str:
        sqlstate = f" [{self.sqlstate}]" if self.sqlstate else ""
        return f"{self.place}:{sqlstate} {self.message}"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schema stands that does not stand at the target.

    Attributes:
        oid: None: the schema does not exist.
        tenant: slug; None for the catalog's and the shared schema.
        version: of the last file applied; None: none was.
        since: when that was, or else when the tenant was registered.
        failure: of the last attempt, where it failed.
    """

    stage: Stage
    name: str
    oid: int | None = None
    tenant: str | None = None
    version: str | None = None
    digest: str = ""
    since: datetime | None = None
    failure: Failure | None = None

    @property
    def key(self) -> tuple[str, int | None]:
        """What tells it from every other schema, now and earlier."""
        return self.name, self.oid


@dataclass(frozen=True, slots=True)
class Step:
    """A schema that does not stand at the target, and what that means for it."""

    standing: Standing
    position: Position


@dataclass(frozen=True, slots=True)
class Survey:
    """A database at one moment.

    Attributes:
        empty: nothing was ever applied: there is no catalog, so no tenant either.
        steps: every schema that does not stand at the target, stage by stage.
        versions: for each stage and version, how many schemas stand there.
    """

    empty: bool
    steps: tuple[Step, ...]
    versions: tuple[tuple[Stage, str, int], ...] = ()

    def of(self, *verdicts: Verdict) -> list[Step]:
        """Return the steps with one of *verdicts*."""
        return [step for step in self.steps if step.position.verdict in verdicts]

    @property
    def refused(self) -> list[Step]:
        """The schemas to which nothing can be applied before somebody has looked at them."""
        return [step for step in self.steps if step.position.verdict.refused]
