"""What an exported tenant says of itself, beside its structure and its rows; pure."""

from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from tenancy.errors import ArchiveError
from tenancy.migrate.ledger.carried import Carried
from tenancy.tenant import State


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Registered(_Part):
    """What the registry had of the tenant.

    Attributes:
        state: the one it is in, or was in before it was to be deleted.
        domains: those that were verified, the primary one first where there is one.
        has_primary: whether there is one.
    """

    id: UUID
    slug: str
    state: State
    settings: dict[str, Any]
    created_at: AwareDatetime
    former_slugs: tuple[str, ...]
    domains: tuple[str, ...]
    has_primary: bool


class Table(_Part):
    """A table with rows of its own, or a partitioned one with those of its partitions.

    Attributes:
        columns: those that rows are read of; generated ones make themselves.
    """

    name: str
    columns: tuple[str, ...]


class Sequence(_Part):
    """Where a sequence stood."""

    name: str
    last_value: int
    is_called: bool


class Portrait(_Part):
    """A tenant without its structure and its rows.

    Attributes:
        server: major version of the PostgreSQL that it was in.
        schema_name: of the schema that it was in, for people; the next one has another.
        comment: of the user's own on that schema.
        fingerprint: of that schema; see `migrate.shape.fingerprint`.
        apart: whether requests ran there as another role than the owner, so that the structure
            says what that role may do.
    """

    server: int
    tenant: Registered
    ledger: Carried
    schema_name: str
    comment: str
    fingerprint: str
    apart: bool
    tables: tuple[Table, ...]
    sequences: tuple[Sequence, ...]


class File(_Part):
    """A file of an export.

    Attributes:
        rows: in it, where it is a table's.
    """

    name: str
    sha256: str
    bytes: int
    rows: int | None = None


class Manifest(_Part):
    """All of an export but its files.

    Attributes:
        tenancy: the version of this package that wrote it.
        structure: what makes the objects before the rows, and after them.
        rights: who may do what with them.
        objects: these, as `likeness` tells them.
        rows_of: one for each table of the portrait, in its order.
    """

    format: Literal[1] = 1
    tenancy: str
    exported_at: AwareDatetime
    portrait: Portrait
    structure: tuple[File, File]
    rights: File
    objects: File
    rows_of: tuple[File, ...]

    @property
    def files(self) -> tuple[File, ...]:
        """All of them."""
        return (*self.structure, self.rights, self.objects, *self.rows_of)

    @property
    def rows(self) -> int:
        """How many rows all tables have."""
        return sum(file.rows or 0 for file in self.rows_of)

    def text(self) -> str:
        """Return it as a file."""
        return self.model_dump_json(indent=1) + "\n"


def read(text: bytes, where: str) -> Manifest:
    """Return the manifest that *text* is.

    Raises:
        ArchiveError: it is none that this version can read; names *where*.
    """
    try:
        found = Manifest.model_validate_json(text)
    except ValidationError as error:
        place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        raise ArchiveError(
            f"{where}: its manifest is none that this version of tenancy can read"
            + (f" (at {place})" if place else "")
        ) from None
    if len(found.rows_of) != len(found.portrait.tables):
        raise ArchiveError(f"{where}: its manifest does not name a file for each table")
    return found
