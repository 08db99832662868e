"""Runs of the migrator, and what failed in them."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import asyncpg

from tenancy.migrate.ledger.records import Failure, SchemaRef

# As JSON, for a catalog that is itself behind lacks some of its columns.
_RUN = "SELECT to_jsonb(r)::text FROM tenancy.runs AS r"

# A run `r` that was killed, interrupted or stopped, and for which no later one has made up: one
# that goes on with it, or that has brought every tenant to the newest version.
UNFINISHED = """
    coalesce(r.outcome, 'stopped') IN ('interrupted', 'stopped') AND r.command IN ('up', 'resume')
    AND NOT EXISTS (
        SELECT FROM tenancy.runs AS later
        WHERE later.resumes = r.id
           OR later.started_at > r.started_at AND later.outcome = 'current'
              AND later.command IN ('up', 'resume')
              AND NOT later.options ?| ARRAY['target', 'select'])
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the ledger has it.

    Attributes:
        options: what was asked for.
        digest: of all its files; None: it was begun by an older build.
        outcome: None: it is under way, or was killed.
        wave: the last one that was begun.
        server_process: which held its lock.
    """

    id: UUID
    command: str
    options: Mapping[str, Any]
    digest: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    host: str
    process_id: int
    wave: int | None
    server_process: int | None

    @property
    def unfinished(self) -> bool:
        """Whether it was cut off, or may be under way."""
        return self.outcome in {None, "interrupted", "stopped"}

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the run in a row of JSON."""
        row = json.loads(text)
        finished = row["finished_at"]
        return cls(
            UUID(row["id"]),
            row.get("command", "up"),
            row.get("options", {}),
            row.get("digest"),
            datetime.fromisoformat(row["started_at"]),
            finished and datetime.fromisoformat(finished),
            row["outcome"],
            row["host"],
            row["process_id"],
            row.get("wave"),
            row.get("server_process"),
        )


async def start_run(
    conn: asyncpg.Connection,
    command: str = "up",
    options: Mapping[str, Any] | None = None,
    digest: str | None = None,
    resumes: UUID | None = None,
) -> UUID:
    """Note that this process begins to migrate; return the run's id."""
    run_id: UUID = await conn.fetchval(
        "INSERT INTO tenancy.runs "
        "(host, process_id, server_process, command, options, digest, resumes) "
        "VALUES ($1, $2, pg_catalog.pg_backend_pid(), $3, $4, $5, $6) RETURNING id",
        socket.gethostname(),
        os.getpid(),
        command,
        json.dumps(options or {}),
        digest,
        resumes,
    )
    return run_id


async def lead(conn: asyncpg.Connection, run_id: UUID) -> None:
    """Note that *conn* holds the lock of the run now, and this process goes on with it."""
    await conn.execute(
        "UPDATE tenancy.runs SET host = $2, process_id = $3, "
        "server_process = pg_catalog.pg_backend_pid() WHERE id = $1",
        run_id,
        socket.gethostname(),
        os.getpid(),
    )


async def open_wave(conn: asyncpg.Connection, run_id: UUID, wave: int) -> None:
    """Let those who have joined the run begin with *wave*."""
    await conn.execute("UPDATE tenancy.runs SET wave = $2 WHERE id = $1", run_id, wave)


async def finish_run(conn: asyncpg.Connection, run_id: UUID, outcome: str) -> None:
    """Note how the run ended; one that stays without an outcome was killed."""
    await conn.execute(
        "UPDATE tenancy.runs SET finished_at = clock_timestamp(), outcome = $2 WHERE id = $1",
        run_id,
        outcome,
    )


async def read_run(conn: asyncpg.Connection, run_id: UUID) -> Run | None:
    """Return the run with this id."""
    row = await conn.fetchval(f"{_RUN} WHERE r.id = $1", run_id)
    return Run.read(row) if row else None


async def last_run(conn: asyncpg.Connection) -> Run | None:
    """Return the run that began last."""
    row = await conn.fetchval(f"{_RUN} ORDER BY r.started_at DESC LIMIT 1")
    return Run.read(row) if row else None


async def led_by(conn: asyncpg.Connection, server_process: int) -> Run | None:
    """Return the run under way whose lock *server_process* holds."""
    row = await conn.fetchval(
        f"{_RUN} WHERE r.outcome IS NULL AND to_jsonb(r) ->> 'server_process' = $1 "
        "ORDER BY r.started_at DESC LIMIT 1",
        str(server_process),
    )
    return Run.read(row) if row else None


async def last_unfinished(conn: asyncpg.Connection) -> Run | None:
    """Return the last run that was killed, interrupted or stopped, and that is worth resuming."""
    row = await conn.fetchval(f"{_RUN} WHERE {UNFINISHED} ORDER BY r.started_at DESC LIMIT 1")
    return Run.read(row) if row else None


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
