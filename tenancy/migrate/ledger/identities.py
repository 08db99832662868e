"""Schemas that the ledger knows by another oid than they have: the database is a restored one.

A dump and pg_upgrade keep a schema's name, its comment and the ledger's rows, and no oid.
"""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.mends import TABLES

# Far above any oid that a server gives out in its life; see `move`.
_PARKED = 2**32 - 1

_KNOWN = " UNION ".join(f"SELECT schema_oid, schema_name FROM tenancy.{table}" for table in TABLES)
_STRANGE = f"""
    SELECT k.schema_oid AS old, k.schema_name AS name, n.oid AS new, c.stage, c.digest,
           coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), '') AS comment,
           h.schema_oid IS NOT NULL AS at_home
    FROM ({_KNOWN}) AS k
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = k.schema_name::name
    LEFT JOIN tenancy.checkpoints AS c
        ON c.schema_oid = k.schema_oid AND c.schema_name = k.schema_name
    LEFT JOIN tenancy.checkpoints AS h ON h.schema_oid = n.oid AND h.schema_name = k.schema_name
    WHERE n.oid IS DISTINCT FROM k.schema_oid
    ORDER BY c.updated_at DESC NULLS LAST, k.schema_name
"""


class Stranger(NamedTuple):
    """Rows of the ledger under an oid that is not the one of the schema with their name.

    Attributes:
        new: that schema's oid; None: there is none.
        stage, digest: of their checkpoint; None: they have none.
        comment: on that schema.
        at_home: whether the ledger has a checkpoint under *new* too.
    """

    old: int
    name: str
    new: int | None
    stage: Stage | None
    digest: str | None
    comment: str
    at_home: bool


async def strangers(conn: asyncpg.Connection) -> list[Stranger]:
    """Return the rows whose oid and name are not one schema's, of the newest checkpoint first.

    What is left of schemas that were dropped is among them.
    """
    found = [Stranger(*row.values()) for row in await conn.fetch(_STRANGE)]
    return [one._replace(stage=Stage(one.stage) if one.stage else None) for one in found]


async def move(
    conn: asyncpg.Connection, every: Sequence[Stranger], home: Sequence[Stranger]
) -> None:
    """Give the rows of *home*, of all *every* strangers, the oid of their schema, in a transaction.

    The oids of one database may be those of other schemas in the next, so all are put aside first.
    """
    parked = {(one.old, one.name): _PARKED - number for number, one in enumerate(every)}
    aside = [(*key, oid) for key, oid in parked.items()]
    back = [(parked[one.old, one.name], one.name, one.new) for one in home]
    for table in (*TABLES, "work"):
        for moves in (aside, back):
            await conn.execute(
                f"UPDATE tenancy.{table} AS t SET schema_oid = m.to_oid "
                "FROM unnest($1::oid[], $2::text[], $3::oid[]) AS m (oid, name, to_oid) "
                "WHERE t.schema_oid = m.oid AND t.schema_name = m.name",
                *([one[at] for one in moves] for at in range(3)),
            )
