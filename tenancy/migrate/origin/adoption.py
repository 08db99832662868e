"""A schema becomes a tenant's: its shape is proved, then its ledger begins."""

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.model import Migration, target
from tenancy.migrate.ledger.records import Baseline, SchemaRef
from tenancy.migrate.origin import alike, bookkeeping
from tenancy.migrate.origin.inherited import MOST
from tenancy.migrate.upgrade import fresh


async def prove(
    conn: asyncpg.Connection, made: SchemaRef, found: SchemaRef, without: frozenset[str]
) -> None:
    """Pass if *found* has the objects of *made*, which the files have made; grants may differ.

    Raises:
        MigrationRefusedError: names the objects that differ.
    """
    without |= await bookkeeping.passed_over(conn, made)
    differing = await alike.differences(conn, found, made, without=without, rights=False)
    if differing:
        more = f"; and {len(differing) - MOST} more" if len(differing) > MOST else ""
        raise MigrationRefusedError(
            "the schema is not what the files make of one: "
            + "; ".join(map(str, differing[:MOST]))
            + f"{more}. Choose another --at, leave tables out with --without, or trust it with "
            "--unproven"
        )


async def begin_ledger(
    conn: asyncpg.Connection, schema: SchemaRef, migrations: tuple[Migration, ...]
) -> None:
    """Set a baseline for *schema*, which has *migrations*, in the open transaction.

    Raises:
        AlreadyAppliedError: the ledger has something of it.
    """
    base = Baseline(migrations[-1].version, target(migrations))
    await fresh.begin(conn, schema, base, name="adopted")
