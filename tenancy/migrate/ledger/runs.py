"""Runs of the migrator, and what failed in them."""

import os
import socket
from uuid import UUID

import asyncpg

from tenancy.migrate.ledger.records import Failure, SchemaRef


async def start_run(conn: asyncpg.Connection) -> UUID:
    """Note that this process begins to migrate; return the run's id."""
    run_id: UUID = await conn.fetchval(
        "INSERT INTO tenancy.runs (host, process_id) VALUES ($1, $2) RETURNING id",
        socket.gethostname(),
        os.getpid(),
    )
    return run_id


async def finish_run(conn: asyncpg.Connection, run_id: UUID, outcome: str) -> None:
    """Note how the run ended; one that stays without an outcome was killed."""
    await conn.execute(
        "UPDATE tenancy.runs SET finished_at = clock_timestamp(), outcome = $2 WHERE id = $1",
        run_id,
        outcome,
    )


async def fail(
    conn: asyncpg.Connection, schema: SchemaRef, failure: Failure, run_id: UUID | None
) -> None:
    """Note a failure, but no words that the file made up itself: there may be rows in them."""
    await conn.execute(
        "INSERT INTO tenancy.failures "
        "(run_id, schema_oid, schema_name, version, sqlstate, place, message) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        run_id,
        schema.oid,
        schema.name,
        failure.version,
        failure.sqlstate,
        failure.place,
        "the file raised an error; the run printed its words"
        if failure.raised
        else failure.message,
    )
