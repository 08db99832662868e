"""The work list of a run: which schemas it found behind, in which order and wave."""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

import asyncpg

from tenancy.migrate.ledger.runs import UNFINISHED


class Work(NamedTuple):
    """One schema's place on the list."""

    position: int
    wave: int
    schema_oid: int
    schema_name: str


async def append(conn: asyncpg.Connection, run_id: UUID, work: Iterable[Work]) -> None:
    """Put *work* on the list of the run."""
    await conn.copy_records_to_table(
        "work",
        schema_name="tenancy",
        columns=("run_id", *Work._fields),
        records=((run_id, *one) for one in work),
    )


async def of_run(conn: asyncpg.Connection, run_id: UUID) -> list[Work]:
    """Return the list of the run, in its order."""
    rows = await conn.fetch(
        "SELECT position, wave, schema_oid, schema_name FROM tenancy.work "
        "WHERE run_id = $1 ORDER BY position",
        run_id,
    )
    return [Work(*row.values()) for row in rows]


async def of_wave(conn: asyncpg.Connection, run_id: UUID, wave: int) -> list[int]:
    """Return the oids of the schemas in one wave of the run, in their order."""
    rows = await conn.fetch(
        "SELECT schema_oid FROM tenancy.work WHERE run_id = $1 AND wave = $2 ORDER BY position",
        run_id,
        wave,
    )
    return [row["schema_oid"] for row in rows]


async def forget(conn: asyncpg.Connection) -> None:
    """Drop the lists of all runs that nobody has to go on with."""
    await conn.execute(
        "DELETE FROM tenancy.work AS w USING tenancy.runs AS r "
        f"WHERE r.id = w.run_id AND NOT ({UNFINISHED})"
    )
