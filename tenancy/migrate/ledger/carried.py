"""What the ledger says of one schema, to be said of another one that is its copy."""

import json
from typing import Literal

import asyncpg
from pydantic import AwareDatetime, BaseModel, ConfigDict

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import Baseline, History, SchemaRef

_UNFINISHED = """
    SELECT version FROM tenancy.steps WHERE schema_oid = $1 AND finished_at IS NULL
    UNION ALL
    SELECT version FROM tenancy.backfills WHERE schema_oid = $1 AND finished_at IS NULL
    UNION ALL
    SELECT s.version FROM tenancy.steps AS s WHERE s.schema_oid = $1 AND s.direction = 'up'
        AND NOT EXISTS (SELECT FROM tenancy.migrations AS m
                        WHERE m.schema_oid = $1 AND m.version = s.version)
    ORDER BY 1 LIMIT 1
"""
_GIVE = """
    INSERT INTO tenancy.migrations
        (schema_oid, version, schema_name, stage, name, checksum, applied_at, kind, milliseconds)
    SELECT $1, r.version, $2, $3, r.name, r.checksum, r.applied_at, r.kind, r.milliseconds
    FROM json_to_recordset($4::json) AS r (
        version text, name text, checksum text, applied_at timestamptz, kind text,
        milliseconds integer)
"""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Applied(_Part):
    """One row: a file, or a baseline that stands for many."""

    version: str
    name: str
    checksum: str
    kind: Literal["file", "baseline"]
    applied_at: AwareDatetime
    milliseconds: int | None


class Carried(_Part):
    """All that is known of which files a schema has.

    Attributes:
        version, digest: of its checkpoint; empty: nothing was applied.
    """

    version: str
    digest: str
    applied: tuple[Applied, ...]

    @property
    def history(self) -> History:
        """The rows, as the plan reads them."""
        bases = [Baseline(r.version, r.checksum) for r in self.applied if r.kind == "baseline"]
        files = {row.version: row.checksum for row in self.applied if row.kind == "file"}
        return History(files, *bases[:1])


async def take(conn: asyncpg.Connection, schema: SchemaRef) -> Carried:
    """Return what the ledger says of *schema*, which is at rest.

    Raises:
        MigrationRefusedError: a file was begun and not finished there; names it.
    """
    if version := await conn.fetchval(_UNFINISHED, schema.oid):
        raise MigrationRefusedError(
            f"{schema.name} is in the middle of the file {version}: bring it to its end by "
            "`python -m tenancy.migrate`, then try again"
        )
    row = await conn.fetchrow(
        "SELECT version, digest FROM tenancy.checkpoints WHERE schema_oid = $1", schema.oid
    )
    applied = await _applied(conn, schema)
    found = Carried(
        version=row["version"] if row else "", digest=row["digest"] if row else "", applied=applied
    )
    if found.history.digest != found.digest:
        raise MigrationRefusedError(
            f"the ledger of {schema.name} does not add up: see `python -m tenancy.migrate verify`"
        )
    return found


async def give(conn: asyncpg.Connection, schema: SchemaRef, carried: Carried) -> None:
    """Let the ledger say *carried* of the new *schema*, in the open transaction.

    Raises:
        AlreadyAppliedError: it has something of it.
    """
    if await checkpoints.digest(conn, schema) or not carried.applied:
        if carried.applied:
            raise checkpoints.AlreadyAppliedError(f"the ledger has something of {schema.name}")
        return
    rows = json.dumps([row.model_dump(mode="json") for row in carried.applied])
    await conn.execute(_GIVE, schema.oid, schema.name, Stage.TENANT, rows)
    await conn.execute(
        "INSERT INTO tenancy.checkpoints (schema_oid, schema_name, stage, version, digest) "
        "VALUES ($1, $2, $3, $4, $5)",
        *(schema.oid, schema.name, Stage.TENANT, carried.version, carried.digest),
    )


async def _applied(conn: asyncpg.Connection, schema: SchemaRef) -> tuple[Applied, ...]:
    rows = await conn.fetch(
        "SELECT version, name, checksum, kind, applied_at, milliseconds FROM tenancy.migrations "
        "WHERE schema_oid = $1 ORDER BY version, kind",
        schema.oid,
    )
    return tuple(Applied(**row) for row in rows)
