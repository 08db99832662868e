"""Which files a schema has: the rows and the checkpoint that a file's own transaction writes.

Every name and operator is qualified: these run under an empty path, and under a schema's. What goes
into a file's transaction is text, because only simple queries can be many in one round trip.
"""

import json
from collections.abc import Mapping
from uuid import UUID

import asyncpg

from tenancy.errors import MigrationError
from tenancy.identifiers import literal
from tenancy.migrate.files.model import Migration, Stage
from tenancy.migrate.ledger.records import Baseline, Facts, History, Move, SchemaRef
from tenancy.migrate.ledger.texts import of_schema, run

# Said in a transaction that will tell of its schema's new version itself (sql/catalog/0004).
TELLS_LATER = "SET LOCAL tenancy.tells = 'later'"

_CLAIM = "migrations_pkey"
_DIGEST = "(SELECT digest FROM tenancy.checkpoints WHERE schema_oid OPERATOR(pg_catalog.=) {:d})"
_NO_TENANT = "NULL, NULL, current_user, NULL"


class AlreadyAppliedError(MigrationError):
    """The ledger has this file for this schema already: somebody else was faster."""

    code = "migration_already_applied"


async def exists(conn: asyncpg.Connection) -> bool:
    """Whether the catalog has been made in this database."""
    return bool(
        await conn.fetchval("SELECT pg_catalog.to_regclass('tenancy.checkpoints') IS NOT NULL")
    )


def claim(schema: SchemaRef, migration: Migration, run_id: UUID | None) -> str:
    """Return the SQL that claims *migration* for *schema* in the transaction that applies it.

    A second transaction that claims it waits there for the first one's end, and then fails:
    see `is_claimed`.
    """
    texts = ", ".join(
        literal(text)
        for text in (
            *(migration.version, schema.name, migration.stage, migration.name, migration.checksum),
        )
    )
    return (
        "INSERT INTO tenancy.migrations "
        "(schema_oid, version, schema_name, stage, name, checksum, run_id) "
        f"VALUES ({schema.oid:d}, {texts}, {run(run_id)})"
    )


def is_claimed(error: BaseException) -> bool:
    """Whether *error* is `claim`'s, because the file was applied before."""
    return (
        isinstance(error, asyncpg.UniqueViolationError)
        and error.constraint_name == _CLAIM
        and error.schema_name == "tenancy"
    )


def moved(schema: SchemaRef, stage: Stage, move: Move) -> str:
    """Return the SQL that moves the checkpoint of *schema*; it finds a row if that stood right."""
    if not move.after:
        return (
            f"DELETE FROM tenancy.checkpoints WHERE {of_schema(schema)} "
            f"AND digest OPERATOR(pg_catalog.=) {literal(move.before)} RETURNING 1"
        )
    values = [schema.name, stage, move.version, move.after]
    name, of, version, digest = map(literal, values)
    if not move.before:
        return (
            "INSERT INTO tenancy.checkpoints (schema_oid, schema_name, stage, version, digest) "
            f"VALUES ({schema.oid:d}, {name}, {of}, {version}, {digest}) "
            "ON CONFLICT DO NOTHING RETURNING 1"
        )
    # What was known of the old shape; an old catalog has no such column yet.
    shape = "" if stage is Stage.CATALOG else "fingerprint = NULL, "
    return (
        f"UPDATE tenancy.checkpoints SET {shape}schema_name = {name}, stage = {of}, "
        f"version = {version}, digest = {digest}, updated_at = pg_catalog.clock_timestamp() "
        f"WHERE {of_schema(schema)} "
        f"AND digest OPERATOR(pg_catalog.=) {literal(move.before)} RETURNING 1"
    )


def advanced(schema: SchemaRef, migration: Migration, move: Move) -> str:
    """Return the SQL condition that is true once the checkpoint of *schema* has moved.

    It moves it, and notes how long the claimed file has taken (sql/catalog/0004_fleet.sql); not
    for the catalog itself, which may be older than that.
    """
    texts = (schema.name, migration.stage, migration.version)
    named, stage, version = map(literal, texts)
    before, after, newest = map(literal, (move.before, move.after, move.version))
    in_steps = "false" if migration.directives.transactional else "true"
    return (
        f"tenancy.advance({schema.oid:d}, {named}, {stage}, {version}, {in_steps}, "
        f"{before}, {after}, {newest})"
    )


def claimed(schema: SchemaRef, migration: Migration) -> AlreadyAppliedError:
    """Return the error of a file that somebody else has applied."""
    return AlreadyAppliedError(f"the ledger has {migration.source.label} for {schema.name} already")


async def facts(
    conn: asyncpg.Connection,
    schema: SchemaRef,
    stage: Stage = Stage.TENANT,
    first: str = "true",
) -> Facts:
    """Return what has to be known of *schema* before its first file, in one round trip.

    *first* is SQL of a condition that is told with them, such as whether a lock could be taken.
    They are read after it, but for the catalog's, which may lack the function that does so.
    """
    found: list[bytes] = []

    async def keep(data: bytes) -> None:
        found.append(bytes(data))

    name = literal(schema.name)
    asked = f"tenancy.facts({first}, {schema.oid:d}, {name})"
    if stage is Stage.CATALOG:
        asked = f"pg_catalog.json_build_array({first}, {_DIGEST.format(schema.oid)}, {_NO_TENANT})"
    # COPY, because nothing else brings rows in one round trip without a prepared statement, and
    # files may leave none.
    await conn.copy_from_query(f"SELECT {asked}", output=keep)
    # A backslash is doubled by COPY; other characters that it changes are not in JSON.
    row = json.loads(b"".join(found).replace(b"\\\\", b"\\"))
    return Facts(bool(row[0]), row[1] or "", row[2], row[3], row[4], row[5] or "")


async def digest(conn: asyncpg.Connection, schema: SchemaRef) -> str:
    """Return the digest of all that was applied to *schema*; empty: nothing was."""
    found: str | None = await conn.fetchval(
        "SELECT digest FROM tenancy.checkpoints WHERE schema_oid = $1", schema.oid
    )
    return found or ""


async def stand(conn: asyncpg.Connection, targets: Mapping[str, str]) -> bool:
    """Whether each of the schemas of *targets* is there, and stands at that digest."""
    count = await conn.fetchval(
        "SELECT count(*) FROM unnest($1::text[], $2::text[]) AS w (name, digest) "
        "JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.name::name "
        "LEFT JOIN tenancy.checkpoints AS c ON c.schema_oid = n.oid AND c.schema_name = w.name "
        "WHERE coalesce(c.digest, '') = w.digest",
        list(targets),
        list(targets.values()),
    )
    return bool(count == len(targets))


async def history(conn: asyncpg.Connection, oid: int) -> History:
    """Return what the ledger has of the schema with this *oid*."""
    rows = await conn.fetch(
        # A catalog that is itself behind may not have the column yet.
        "SELECT version, checksum, coalesce(to_jsonb(m) ->> 'kind', 'file') AS kind "
        "FROM tenancy.migrations AS m WHERE schema_oid = $1",
        oid,
    )
    bases = [Baseline(r["version"], r["checksum"]) for r in rows if r["kind"] == "baseline"]
    applied = {row["version"]: row["checksum"] for row in rows if row["kind"] == "file"}
    return History(applied, *bases)


async def schema(conn: asyncpg.Connection, name: str) -> SchemaRef | None:
    """Return the schema called *name*, if there is one."""
    oid = await conn.fetchval("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1", name)
    return None if oid is None else SchemaRef(oid, name)
