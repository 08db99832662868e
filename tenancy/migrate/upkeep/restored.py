"""The ledger of a database that was restored from a dump, or brought over by pg_upgrade."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger import checkpoints, identities, stamp
from tenancy.migrate.ledger.identities import Stranger
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings


class Restored:
    """What the ledger knows under oids of another database, under the run's lock.

    Attributes:
        recognized: those whose schema is here and says itself what the ledger says of it.
        doubtful: those whose schema is here and says something else: one made anew, or restored
            from another day. Their rows are put aside, and the schema wants a `baseline`.
    """

    def __init__(self, conn: asyncpg.Connection, found: Sequence[Stranger]) -> None:
        self._conn = conn
        self._found = found
        here: dict[str, Stranger] = {}
        for one in found:
            if one.new is not None and one.stage is not None and not one.at_home:
                here.setdefault(one.name, one)  # the newest, of several of one name
        self.recognized = tuple(one for one in here.values() if _is_the_same(one))
        self.doubtful = tuple(one for one in here.values() if not _is_the_same(one))

    async def carry_out(self) -> int:
        """Let the ledger's rows follow their schemas, all or nothing; return how many schemas."""
        async with self._conn.transaction():
            await identities.move(self._conn, self._found, self.recognized)
        return len(self.recognized)


@asynccontextmanager
async def restored(settings: Settings) -> AsyncIterator[Restored]:
    """Yield what has another oid than the ledger says; nothing migrates while the block runs.

    Raises:
        RunLockHeldError: a run is migrating this database.
        MigrationRefusedError: there is no ledger.
    """
    async with Session(settings) as session:
        conn = await session.connection()
        if not await checkpoints.exists(conn):
            raise MigrationRefusedError("there is no ledger yet: run `python -m tenancy.migrate`")
        await lock.take_run(conn)
        yield Restored(conn, await identities.strangers(conn))


def _is_the_same(one: Stranger) -> bool:
    """Whether the schema is the one that the ledger means.

    The catalog is the ledger's own, and the shared schema has one name; a tenant's says it itself.
    """
    said = stamp.read(one.comment)
    return one.stage is not Stage.TENANT or (said is not None and said[1] == one.digest)
