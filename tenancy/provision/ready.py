"""Schemas made ahead: a tenant who is given one waits for no CREATE TABLE.

They are at the newest files and open to the login of requests; the row in ``tenancy.ready_schemas``
says that they are nobody's yet. A process keeps those of its own login in order, and no others:
several deployments may share a database.
"""

import logging
import secrets
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

import asyncpg

from tenancy import migrate
from tenancy.identifiers import quoted
from tenancy.migrate import Files
from tenancy.migrate.files.model import target
from tenancy.migrate.ledger import mends
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.migrate.upgrade.scratch import READY_PREFIX
from tenancy.provision.building import Building

_log = logging.getLogger(__name__)

_DROP_LOCK_TIMEOUT = "2s"

_SHARED = """
    SELECT coalesce(min(s.digest), '') FROM tenancy.checkpoints AS s
    JOIN pg_namespace AS m ON m.oid = s.schema_oid AND m.nspname = s.schema_name::name
    WHERE s.stage = 'shared' AND s.schema_name = $2
"""
# What a claim wants; NULL where there is no such schema any more.
_FITS = f"""
    c.digest = $1 AND r.shared_schema = $2 AND r.login = $3 AND r.own_role = $4
    AND r.shared_digest = ({_SHARED})
    AND (NOT r.own_role OR EXISTS (SELECT FROM pg_roles WHERE rolname = r.schema_name::name))
"""
_WITH_CHECKPOINT = """
    tenancy.ready_schemas AS r
    LEFT JOIN pg_namespace AS n ON n.nspname = r.schema_name::name
    LEFT JOIN tenancy.checkpoints AS c ON c.schema_oid = n.oid AND c.schema_name = r.schema_name
"""
_CLAIM = f"""
    DELETE FROM tenancy.ready_schemas WHERE schema_name = (
        SELECT r.schema_name FROM {_WITH_CHECKPOINT} WHERE {_FITS}
        ORDER BY r.made_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED)
    RETURNING schema_name
"""
_ENTER = f"""
    INSERT INTO tenancy.ready_schemas
        (schema_name, shared_schema, shared_digest, login, own_role)
    SELECT $1, $2, ({_SHARED}), $3, $4
"""
# Not those that a newer build has made: its tenants are about to come.
_STOCK = f"""
    SELECT r.schema_name, ({_FITS}) IS TRUE AS fits
    FROM {_WITH_CHECKPOINT}
    WHERE (r.login = $3 AND (c.version IS NULL OR c.version <= $5))
       OR NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r.login::name)
    ORDER BY r.made_at
"""
_ANY = "SELECT EXISTS (SELECT FROM tenancy.ready_schemas)"
_HOLD = """
    SELECT own_role FROM tenancy.ready_schemas WHERE schema_name = $1 FOR UPDATE SKIP LOCKED
"""
_FORGET = "DELETE FROM tenancy.ready_schemas WHERE schema_name = $1"


@dataclass(frozen=True, slots=True)
class Stock:
    """The schemas that were made ahead.

    Attributes:
        wanted: how many there are to be: ``TENANCY_READY_SCHEMAS``.
        ready: how many a new tenant can be given now.
        stale: how many are not what the files and settings say any more; the next refill drops
            them.
    """

    wanted: int
    ready: int
    stale: int

    def as_json(self) -> dict[str, int]:
        """Members for a JSON document."""
        return asdict(self)


class Readying(Building):
    """The stock of schemas that new tenants are given."""

    async def stock(self) -> Stock:
        """Return how many schemas are ready for this deployment's tenants.

        Raises:
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        async with self._readable():
            fits = [row["fits"] for row in await self._stocked(self.files())]
        return Stock(self.settings.ready_schemas, fits.count(True), fits.count(False))

    async def refill(self, wanted: int | None = None) -> int:
        """Make schemas until *wanted* are ready, and drop what is stale or too many.

        One transaction for each; interrupted anywhere, it is gone on with the next time. Of several
        processes that do this at once, one makes a schema and the others leave it to it.

        Args:
            wanted: how many there are to be; None: ``TENANCY_READY_SCHEMAS``.

        Returns:
            How many were made or dropped.

        Raises:
            MigrationRefusedError: the catalog or the shared schema is behind its files.
            MigrationError: a file failed; names the file, the line and the SQLSTATE.
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        wanted = self.settings.ready_schemas if wanted is None else wanted
        async with self._readable():
            if not wanted and not await self._conn.fetchval(_ANY):
                return 0  # asks for no files, which the process may not have
        files = self.files()
        await migrate.refuse_unless_current(self._conn, self.settings, files)
        try:
            dropped = await self._cleared(files, wanted)
            made = 0
            while await self._added(files, wanted):
                made += 1
        except asyncpg.InsufficientPrivilegeError as error:
            raise self.rights.lacking() from error
        return dropped + made

    # The parts of `create` and `refill`

    async def claim_ready(self, files: Files) -> str | None:
        """Return a schema that is ready, and is the caller's if his transaction is committed."""
        found: str | None = await self._conn.fetchval(_CLAIM, *self._fitting(files))
        return found

    async def _stocked(self, files: Files) -> list[asyncpg.Record]:
        newest = files.tenant[-1].version if files.tenant else ""
        rows: list[asyncpg.Record] = await self._conn.fetch(_STOCK, *self._fitting(files), newest)
        return rows

    def _fitting(self, files: Files) -> tuple[str, str, str, bool]:
        sets_role = self.settings.isolation.sets_role
        return target(files.tenant), self.settings.shared_schema, self._login, sets_role

    async def _added(self, files: Files, wanted: int) -> bool:
        """Make one more unless there are enough, or somebody else is making one."""
        async with self.tidy(), AsyncExitStack() as after, self._conn.transaction():
            if not files.tenant or not await self._alone():
                return False
            rows = await self._stocked(files)
            if sum(row["fits"] for row in rows) >= wanted:
                return False
            await self.rights.open_catalog()
            await self.build(_name, files, self._enter, after)
        return True

    async def _alone(self) -> bool:
        try:
            await lock.claim(self._conn, lock.STOCK)
        except LockHeldError:
            return False
        return True

    async def _enter(self, name: str) -> None:
        _, shared, login, own_role = self._fitting(Files((), (), ()))
        await self._conn.execute(_ENTER, name, shared, login, own_role)

    async def _cleared(self, files: Files, wanted: int) -> int:
        rows = await self._stocked(files)
        stale = [row["schema_name"] for row in rows if not row["fits"]]
        surplus = [row["schema_name"] for row in rows if row["fits"]][wanted:]
        done = 0
        for name in [*stale, *surplus]:
            try:
                async with self._conn.transaction():
                    done += await self._dropped(name)
            except asyncpg.LockNotAvailableError:
                _log.warning("%s stays for now: somebody uses it", name)
        return done

    async def _dropped(self, name: str) -> bool:
        """Drop the ready schema *name*, unless somebody has it by now."""
        conn = self._conn
        own_role = await conn.fetchval(_HOLD, name)
        if own_role is None:
            return False
        await conn.execute(f"SET LOCAL lock_timeout = '{_DROP_LOCK_TIMEOUT}'")
        oid = await conn.fetchval("SELECT oid FROM pg_namespace WHERE nspname = $1", name)
        await conn.execute(f"DROP SCHEMA IF EXISTS {quoted(name)} CASCADE")
        if own_role:
            await self.rights.drop_role(name)
        if oid is not None:
            await mends.forget(conn, [oid])
        await conn.execute(_FORGET, name)
        return True


def _name() -> str:
    return READY_PREFIX + secrets.token_hex(6)
