"""Files in one round trip: their transactions, each from BEGIN to COMMIT, are one simple query.

The server stops at the first error in it, so that an answer without one means that all has been
done. What an error means is told from the transaction: while it is open nothing was committed.
"""

from collections.abc import Sequence

import asyncpg

from tenancy.migrate.files.model import Language, Migration
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.upgrade import script
from tenancy.migrate.upgrade.change import Change
from tenancy.migrate.upgrade.lock import UNLOCK
from tenancy.migrate.upgrade.session import FORGET, is_lost

# Of all files together; the text is sent anew to each schema.
MOST_FILES = 50
MOST_CHARACTERS = 200_000


class UnplacedError(Exception):
    """A file failed, and the server did not say which and where: try them one by one."""


async def run(conn: asyncpg.Connection, changes: Sequence[Change], *, last: bool) -> None:
    """Apply *changes*, and leave nothing in the session; where they are the *last*, no lock either.

    Raises:
        MigrationFailedError: a statement failed at a known place; the transaction is still open.
        UnplacedError: something failed; what was committed before that only the ledger knows.
        AlreadyAppliedError: somebody else was faster.
    """
    pieces = [_transaction(change) for change in changes]
    between = f"; {'; '.join(FORGET)}; "
    # Told after the last COMMIT, and not within, as the ledger's trigger would: a COMMIT that tells
    # something waits for all others that do in the database, each with its own wait for the disk
    # (async.c). The server goes on to the end of this text, even if nobody is there any more.
    end = [*changes[-1].told, *FORGET, *([UNLOCK] if last else [])]
    try:
        await conn.execute(
            f"{between.join(pieces)}; {'; '.join(end)}",
            timeout=sum(_seconds(change.migration) for change in changes),
        )
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        if len(changes) == 1:
            script.refuse(changes[0], error)  # all that it knows of comes before COMMIT
            if conn.is_in_transaction():
                _refuse(changes[0].migration, error, pieces[0].index("\n") + 1)
        raise UnplacedError from error


def together(migrations: Sequence[Migration]) -> int:
    """Return how many of *migrations*, of one schema and in order, may go in one round trip."""
    characters = 0
    for number, migration in enumerate(migrations[:MOST_FILES]):
        fits = migration.directives.transactional and migration.language is Language.SQL
        characters += len(migration.source.text) if fits else 0
        if not fits or (number and characters > MOST_CHARACTERS):
            return number
    return min(len(migrations), MOST_FILES)


def _transaction(change: Change) -> str:
    later = [checkpoints.TELLS_LATER] if change.told else []
    begun = "; ".join([*change.begun, *later])
    # The line ends: the file may end in a comment.
    return f"{begun};\n{change.migration.source.text}\n;{'; '.join([*change.ended, 'COMMIT'])}"


def _refuse(migration: Migration, error: asyncpg.PostgresError, begins: int) -> None:
    """Raise if *error* is a statement's, and it can be told which one's."""
    source = migration.source
    offset = int(error.position) - 1 - begins if error.position else None
    if offset is not None and 0 <= offset <= len(source.text):
        raise script.failed_at(migration, error, offset) from error


def _seconds(migration: Migration) -> float:
    return script.timeout_seconds(migration) * max(1, len(migration.source.statements))
