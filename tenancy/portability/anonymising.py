"""A file of SQL for a copy that is to hold nobody's data."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from tenancy.errors import MigrationFileError
from tenancy.migrate.files import parts
from tenancy.migrate.files.model import Migration, Stage, Written
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.upgrade import script
from tenancy.settings import Settings


@dataclass(frozen=True, slots=True)
class Anonymiser:
    """SQL that runs in a copy before anybody else can see it.

    Attributes:
        sha256: of the file, for the audit.
    """

    migration: Migration
    sha256: str

    async def run(self, conn: asyncpg.Connection, schema: SchemaRef, *, shared: str) -> None:
        """Run it in *schema*, in the open transaction, as the owner.

        Raises:
            MigrationFailedError: a statement failed, or left the transaction or the path; says
                where in the file.
        """
        role = await conn.fetchval("SELECT current_user::text")
        await script.run(conn, schema, self.migration, shared=shared, role=role)


def read(path: Path, settings: Settings) -> Anonymiser:
    """Return the file at *path*, which is under the rules of a tenant's files.

    So it ends no transaction, and names no other schema than the shared one.

    Raises:
        MigrationFileError: it cannot be read, or holds what such a file may not.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationFileError(f"{path} cannot be read: {type(error).__name__}") from error
    source = Source(path.name, text)
    part = parts.up(source, Reading(tenant=True, shared=settings.shared_schema), free=False)
    if not part.directives.transactional:
        raise source.refusal(0, "cannot run without a transaction: the copy would be seen before")
    # However long it takes, nobody waits for it.
    limit = part.directives.statement_timeout
    directives = replace(part.directives, statement_timeout=0 if limit is None else limit)
    written = Written(source, None, free=False, path=None, reading=Reading)
    digest = hashlib.sha256(content).hexdigest()
    migration = Migration(
        *(Stage.TENANT, "", path.stem, digest, "", written),
        given=replace(part, directives=directives),
    )
    return Anonymiser(migration, digest)
