"""What the ledger says of a schema, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tenancy.migrate.files.model import Stage, chained


@dataclass(frozen=True, slots=True)
class SchemaRef:
    """A schema that exists; one dropped and made again under the same name is another."""

    oid: int
    name: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """All files up to *version* at once: a snapshot's, or what was there before the ledger.

    Attributes:
        digest: of the chain of these files (`files.model.chained`).
    """

    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class History:
    """What the ledger has of one schema.

    Attributes:
        applied: the checksum of each version, after the baseline's where there is one.
    """

    applied: Mapping[str, str]
    baseline: Baseline | None = None

    @property
    def newest(self) -> str:
        """The highest version; empty: nothing was applied."""
        return max([*self.applied, self.baseline.version if self.baseline else ""])

    @property
    def digest(self) -> str:
        """What the checkpoint of a schema with this history says."""
        digest = self.baseline.digest if self.baseline else ""
        for version in sorted(self.applied):
            digest = chained(digest, version, self.applied[version])
        return digest

    def has(self, version: str) -> bool:
        """Whether the schema has the file of *version*, by its own row or by the baseline."""
        before = self.baseline is not None and version <= self.baseline.version
        return before or version in self.applied

    def then(self, version: str, checksum: str) -> "History":
        """Return this history with one more file."""
        return History({**self.applied, version: checksum}, self.baseline)

    def without(self, version: str) -> "History":
        """Return this history without the file of *version*."""
        rest = {one: checksum for one, checksum in self.applied.items() if one != version}
        return History(rest, self.baseline)


@dataclass(frozen=True, slots=True)
class Move:
    """A checkpoint's way over one file.

    Attributes:
        before, after: digests; empty: nothing is applied.
        version: the highest one afterwards.
    """

    before: str
    after: str
    version: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a schema before its first file.

    Attributes:
        first: what was asked besides, such as whether a lock was taken.
        digest: of its checkpoint; empty: it has none.
        tenant_id, slug: None for a schema that is no tenant's.
        role: who asks.
        comment: on the schema.
    """

    first: bool
    digest: str = ""
    tenant_id: str | None = None
    slug: str | None = None
    role: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file could not be applied to a schema, without what the server quotes out of rows.

    Attributes:
        place: ``<stage>/<file>:<line>:<column>``.
        at: when; None where the ledger has not been told.
        raised: whether the message is the file's own, from RAISE or ASSERT, and may hold anything.
        run_id: of the run in which; None where the ledger has not been told.
    """

    version: str
    place: str
    message: str
    sqlstate: str | None = None
    at: datetime | None = None
    raised: bool = False
    run_id: UUID | None = None

    def __str__(self) -> str:
        sqlstate = f" [{self.sqlstate}]" if self.sqlstate else ""
        return f"{self.place}:{sqlstate} {self.message}"


@dataclass(frozen=True, slots=True)
class Doubt:
    """A statement of a file that is no single transaction, begun and without an end.

    Attributes:
        step: which statement of the file, from 1.
    """

    version: str
    step: int


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill that has not come to its end.

    Attributes:
        done: rows so far.
        total: rows, estimated; None: unknown.
    """

    version: str
    name: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class OddShape:
    """A tenant's schema with another shape than most others that have the same files.

    Attributes:
        others: how many have the usual one.
    """

    tenant: str
    schema: str
    others: int

    @property
    def named(self) -> str:
        """The tenant's slug with its schema."""
        return f"{self.tenant} ({self.schema})"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schema stands that does not stand at the target.

    Attributes:
        oid: None: the schema does not exist.
        tenant: slug; None for the catalog's and the shared schema.
        version: of the last file applied; None: none was.
        since: when that was, or else when the tenant was registered.
        failure: of the last attempt, where it failed.
        doubt: only of a status.
        backfill: only of a status.
        comment: on the schema, where the ledger has nothing of it.
    """

    stage: Stage
    name: str
    oid: int | None = None
    tenant: str | None = None
    version: str | None = None
    digest: str = ""
    since: datetime | None = None
    failure: Failure | None = None
    doubt: Doubt | None = None
    backfill: Backfill | None = None
    comment: str = ""

    @property
    def named(self) -> str:
        """The tenant's slug with its schema, or the name of a schema that is no tenant's."""
        return f"{self.tenant} ({self.name})" if self.tenant else self.name

    @property
    def key(self) -> tuple[str, int | None]:
        """What tells it from every other schema, now and earlier."""
        return self.name, self.oid
