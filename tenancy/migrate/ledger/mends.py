"""Corrections of the ledger, for many schemas with the same history at once."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.records import Baseline, Move, SchemaRef

# What the ledger says of a schema; the work lists of runs go with their runs.
TABLES = ("migrations", "checkpoints", "steps", "backfills", "failures", "reversals")


class Gone(NamedTuple):
    """A schema that the ledger has and the database has not."""

    oid: int
    name: str
    version: str


async def correct(
    conn: asyncpg.Connection,
    oids: Sequence[int],
    *,
    checksums: Mapping[str, tuple[str, str]],
    forgotten: Sequence[str],
    baseline: tuple[Baseline, Baseline] | None,
) -> None:
    """Change the rows of the schemas *oids*, in the open transaction.

    Args:
        conn: in a transaction.
        oids: schemas with the same rows.
        checksums: for each version the old and the new one.
        forgotten: versions whose rows go.
        baseline: the old and the new one.

    Raises:
        MigrationRefusedError: one of them has other rows by now; roll back.
    """
    changes = [(version, *pair, "file") for version, pair in checksums.items()]
    if baseline is not None:
        old, new = baseline
        changes.append((old.version, old.digest, new.digest, "baseline"))
    for change in changes:
        status = await conn.execute(
            "UPDATE tenancy.migrations SET checksum = $4 "
            "WHERE schema_oid = ANY ($1) AND version = $2 AND checksum = $3 AND kind = $5",
            *(list(oids), *change),
        )
        _refuse_unless(status, len(oids))
    for version in forgotten:
        status = await conn.execute(
            "DELETE FROM tenancy.migrations WHERE schema_oid = ANY ($1) AND version = $2",
            *(list(oids), version),
        )
        _refuse_unless(status, len(oids))


async def move(
    conn: asyncpg.Connection, stage: Stage, schemas: Sequence[SchemaRef], to: Move
) -> None:
    """Set the checkpoints of *schemas*, all of which stand where *to* begins, in the transaction.

    Raises:
        MigrationRefusedError: one of them stands elsewhere by now; roll back.
    """
    oids, names = [one.oid for one in schemas], [one.name for one in schemas]
    if not to.before:
        status = await conn.execute(
            "INSERT INTO tenancy.checkpoints (schema_oid, schema_name, stage, version, digest) "
            "SELECT oid, name, $3, $4, $5 FROM unnest($1::oid[], $2::text[]) AS s (oid, name) "
            "ON CONFLICT DO NOTHING",
            *(oids, names, stage, to.version, to.after),
        )
    elif not to.after:
        status = await conn.execute(
            "DELETE FROM tenancy.checkpoints WHERE schema_oid = ANY ($1) AND digest = $2",
            *(oids, to.before),
        )
    else:
        status = await conn.execute(
            "UPDATE tenancy.checkpoints SET version = $3, digest = $4, "
            "updated_at = clock_timestamp() WHERE schema_oid = ANY ($1) AND digest = $2",
            *(oids, to.before, to.version, to.after),
        )
    _refuse_unless(status, len(schemas))


async def comments(conn: asyncpg.Connection, oids: Sequence[int]) -> dict[int, str]:
    """Return what is said in the comments on schemas."""
    rows = await conn.fetch(
        "SELECT oid, pg_catalog.obj_description(oid, 'pg_namespace') AS said "
        "FROM unnest($1::oid[]) AS s (oid)",
        list(oids),
    )
    return {row["oid"]: row["said"] or "" for row in rows}


async def gone(conn: asyncpg.Connection) -> list[Gone]:
    """Return the schemas that the ledger has something of, and that do not exist."""
    known = " UNION ".join(
        f"SELECT schema_oid, schema_name FROM tenancy.{table}" for table in TABLES
    )
    rows = await conn.fetch(
        "SELECT schema_oid, min(k.schema_name) AS name, min(c.version) AS version "
        f"FROM ({known}) AS k LEFT JOIN tenancy.checkpoints AS c USING (schema_oid) "
        "WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n WHERE n.oid = schema_oid) "
        "GROUP BY schema_oid ORDER BY name, schema_oid"
    )
    return [Gone(row["schema_oid"], row["name"], row["version"] or "") for row in rows]


async def forget(conn: asyncpg.Connection, oids: Sequence[int]) -> None:
    """Drop all that the ledger says of schemas that do not exist, in the open transaction."""
    for table in TABLES:
        await conn.execute(
            f"DELETE FROM tenancy.{table} AS t WHERE t.schema_oid = ANY ($1) AND NOT EXISTS "
            "(SELECT FROM pg_catalog.pg_namespace AS n WHERE n.oid = t.schema_oid)",
            list(oids),
        )


def _refuse_unless(status: str, count: int) -> None:
    if not status.endswith(f" {count}"):
        raise MigrationRefusedError("the ledger has changed meanwhile: look again, and repeat it")
