"""One row for many files: what a snapshot brought, or what was there before the ledger."""

from collections.abc import Sequence

import asyncpg

from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.checkpoints import AlreadyAppliedError
from tenancy.migrate.ledger.records import Baseline, SchemaRef


async def record(
    conn: asyncpg.Connection,
    schema: SchemaRef,
    base: Baseline,
    *,
    name: str,
) -> None:
    """Set *base* for the tenant's schema *schema*, of which the ledger has nothing yet.

    Args:
        conn: in the transaction that makes it true.
        schema: the schema.
        base: the version and the digest of the chain up to it.
        name: where it comes from, in one word.

    Raises:
        AlreadyAppliedError: the ledger has something of this schema.
    """
    status = await conn.execute(
        "WITH checkpoint AS ("
        "INSERT INTO tenancy.checkpoints "
        "(schema_oid, schema_name, stage, version, digest) "
        "SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS "
        "(SELECT FROM tenancy.migrations WHERE schema_oid = $1) "
        "ON CONFLICT DO NOTHING RETURNING schema_oid) "
        "INSERT INTO tenancy.migrations "
        "(schema_oid, version, schema_name, stage, name, checksum, kind) "
        "SELECT $1, $4, $2, $3, $6, $5, 'baseline' FROM checkpoint",
        schema.oid,
        schema.name,
        Stage.TENANT,
        base.version,
        base.digest,
        name,
    )
    if not status.endswith(" 1"):
        raise AlreadyAppliedError(f"the ledger has something of {schema.name} already")


async def of(conn: asyncpg.Connection, oids: Sequence[int]) -> dict[int, Baseline]:
    """Return the baselines of those of the schemas *oids* that have one."""
    rows = await conn.fetch(
        "SELECT schema_oid, version, checksum FROM tenancy.migrations "
        "WHERE schema_oid = ANY ($1) AND kind = 'baseline'",
        list(oids),
    )
    return {row["schema_oid"]: Baseline(row["version"], row["checksum"]) for row in rows}
