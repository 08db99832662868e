"""A file in one round trip: its transaction, from BEGIN to COMMIT, is one simple query.

The server stops at the first error in it, so that an answer without one means that all has been
done. What an error means is told from the transaction: while it is open nothing was committed.
"""

import asyncpg

from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.upgrade import script
from tenancy.migrate.upgrade.change import Change
from tenancy.migrate.upgrade.lock import UNLOCK
from tenancy.migrate.upgrade.session import FORGET, is_lost


class UnplacedError(Exception):
    """The file failed, and the server did not say where: try it statement by statement."""


async def run(conn: asyncpg.Connection, change: Change, *, last: bool) -> None:
    """Apply *change*, and leave nothing in the session; where it is the *last* one, no lock either.

    Raises:
        MigrationFailedError: a statement failed at a known place; the transaction is still open.
        UnplacedError: something failed; whether it was before COMMIT only the ledger knows.
        AlreadyAppliedError: somebody else was faster.
    """
    # Not told within the transaction, as the ledger's trigger would: a COMMIT that tells something
    # waits for all others that do in the database, each with its own wait for the disk (async.c).
    # The server goes on to the end of this text, even if nobody is there any more.
    later = [checkpoints.TELLS_LATER] if change.told else []
    begun = "; ".join([*change.begun, *later])
    after = [*change.ended, "COMMIT", *change.told, *FORGET, *([UNLOCK] if last else [])]
    # The line ends: the file may end in a comment.
    sql = f"{begun};\n{change.migration.source.text}\n;{'; '.join(after)}"
    try:
        await conn.execute(sql, timeout=_seconds(change.migration))
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        script.refuse(change, error)  # all that it knows of comes before COMMIT
        if conn.is_in_transaction():
            _refuse(change.migration, error, len(begun) + 2)
        raise UnplacedError from error


def _refuse(migration: Migration, error: asyncpg.PostgresError, begins: int) -> None:
    """Raise if *error* is a statement's, and it can be told which one's."""
    source = migration.source
    offset = int(error.position) - 1 - begins if error.position else None
    if offset is not None and 0 <= offset <= len(source.text):
        raise script.failed_at(migration, error, offset) from error


def _seconds(migration: Migration) -> float:
    return script.timeout_seconds(migration) * max(1, len(migration.source.statements))
