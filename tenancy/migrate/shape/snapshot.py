"""The file that new tenants start from: what is in it, and whether it fits."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from tenancy.errors import MigrationFileError
from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Migration, Stage, Written
from tenancy.migrate.files.parts import Part
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source
from tenancy.migrate.shape.dump import PLACEHOLDER

LABEL = "snapshot/tenant.sql"  # in the sql directory
_FORMAT = "1"

_FIRST = f"""\
-- tenancy snapshot, format {_FORMAT}
-- What a new tenant starts from, instead of all files up to this version. Do not edit it:
-- `python -m tenancy.migrate snapshot` makes it again, the same for the same files.
"""
_HEADER = re.compile(r"-- (?P<key>[a-z]+): (?P<value>.*)")
_KEYS = ("version", "digest", "shared", "server", "fingerprint", "body")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A tenant's schema as SQL, its own name left out.

    Attributes:
        version: of the last file it stands for.
        digest: of the chain of these files (`files.model.chained`).
        shared: the shared schema's name, and after a blank the digest of its chain: files of
            tenants may have read it.
        server: major version of the PostgreSQL that it was made on.
        fingerprint: of a schema that is made from it.
        body: the statements.
    """

    version: str
    digest: str
    shared: str
    server: int
    fingerprint: str
    body: str

    @property
    def text(self) -> str:
        """The file."""
        values = (
            *(self.version, self.digest, self.shared, str(self.server), self.fingerprint),
            f"sha256 {_sha256(self.body)}",
        )
        header = "".join(f"-- {k}: {v}\n" for k, v in zip(_KEYS, values, strict=True))
        return f"{_FIRST}{header}\n{self.body}"

    def sql(self, schema: str) -> str:
        """Return the statements for *schema*, which is to be the first one on the path."""
        return self.body.replace(PLACEHOLDER, schema)

    def as_migration(self) -> Migration:
        """Return it as a file, for the words of a failure."""
        source = Source(LABEL, self.text)
        written = Written(source, None, free=False, path=None, reading=Reading)
        given = Part(source, Directives())
        return Migration(Stage.TENANT, self.version, "snapshot", self.digest, "", written, given)

    def offset(self, within: int) -> int:
        """Return the offset in the file of the character at *within* of `body`."""
        return len(self.text) - len(self.body) + within

    def rest(self, migrations: tuple[Migration, ...]) -> tuple[Migration, ...] | None:
        """Return those of *migrations* that come after it; None: it was not made of these."""
        digests = [migration.digest for migration in migrations]
        return migrations[digests.index(self.digest) + 1 :] if self.digest in digests else None

    def misfit(self, migrations: tuple[Migration, ...], shared: str, server: int) -> str:
        """Return why it cannot be used for *migrations* in this database; empty: it can.

        Args:
            migrations: the files of tenants.
            shared: as the attribute, of this database.
            server: likewise.
        """
        if self.rest(migrations) is None:
            return f"a file up to {self.version} was edited, added or removed since"
        if self.shared != shared:
            return "the files of the shared schema, or its name, are others now"
        if self.server != server:
            return f"it was made on PostgreSQL {self.server}, and this server is {server}"
        return ""


def read(sql_folder: Path) -> Snapshot | None:
    """Return the snapshot in the application's sql directory, if there is one.

    Raises:
        MigrationFileError: it cannot be read, or is not as it was written.
    """
    try:
        text = (sql_folder / LABEL).read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationFileError(f"{LABEL} cannot be read: {type(error).__name__}") from error
    return parse(text)


def parse(text: str) -> Snapshot:
    """Return the snapshot that *text* is.

    Raises:
        MigrationFileError: it is none, or was edited.
    """
    if text.partition("\n")[0].endswith("\r"):  # a checkout has changed the line ends
        text = text.replace("\r\n", "\n")
    if not text.startswith(_FIRST.partition("\n")[0] + "\n"):
        raise _refused("it does not begin as a snapshot of this version of tenancy does")
    header, _, body = text.partition("\n\n")
    found = {
        match["key"]: match["value"]
        for match in map(_HEADER.fullmatch, header.split("\n"))
        if match
    }
    if tuple(found) != _KEYS or not found["server"].isdigit():
        raise _refused("its header is not whole")
    if found["body"] != f"sha256 {_sha256(body)}":
        raise _refused("it was edited after it was made")
    return Snapshot(
        *(found["version"], found["digest"], found["shared"], int(found["server"])),
        *(found["fingerprint"], body),
    )


def _refused(reason: str) -> MigrationFileError:
    return MigrationFileError(
        f"{LABEL}: {reason}; make it again with `python -m tenancy.migrate snapshot`, or remove it"
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
