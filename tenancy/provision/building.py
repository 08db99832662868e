"""A new schema with role, grants and tables, for a tenant or for the stock of ready ones."""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from tenancy import migrate
from tenancy.errors import SchemaNameTakenError
from tenancy.faults import LOST
from tenancy.identifiers import quoted
from tenancy.migrate import Files
from tenancy.migrate.files.folder import catalog_folder, sql_folder
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import FORGET
from tenancy.provision.looking import Looking

_log = logging.getLogger(__name__)

_UNSAFE_ENUM_VALUE = "55P04"  # used in the transaction that has added it
_ATTEMPTS = 3  # 24 bits of chance are in a schema's name

# The driver keeps statements of its own, and loses its way when they go with the files'.
_FORGET = "; ".join(sql for sql in FORGET if sql != "DEALLOCATE ALL")
_PREPARED = (
    "SELECT string_agg(format('DEALLOCATE %I', name), '; ') FROM pg_prepared_statements "
    "WHERE from_sql"
)

Enter = Callable[[str], Awaitable[object]]


class Building(Looking):
    """Schemas out of nothing: all of one, or none of it."""

    _read: tuple[object, Files] | None = None
    _untidy = False

    def files(self) -> Files:
        """Return the files of this deployment; read again only where one has changed.

        Raises:
            MigrationFileError, SettingsError: as `migrate.load`.
        """
        seen = [_seen(catalog_folder()), _seen(sql_folder(self.settings))]
        if self._read is None or self._read[0] != seen:
            self._read = seen, migrate.load(self.settings)
        return self._read[1]

    async def make_schema(self, schema: str) -> None:
        """Make *schema* with its role and its grants, in the caller's transaction.

        Raises:
            SchemaNameTakenError: it is there, or its role is; neither is touched.
        """
        try:
            await self._conn.execute(f"CREATE SCHEMA {quoted(schema)}")
            await self.rights.open_schema(schema, new=True)
        except (asyncpg.DuplicateSchemaError, asyncpg.DuplicateObjectError) as error:
            raise _taken(schema) from error

    async def build(
        self,
        named: Callable[[], str],
        files: Files,
        enter: Enter,
        after: AsyncExitStack,
    ) -> str:
        """Make a schema with all its tables, and enter it where it belongs; return its name.

        In the caller's transaction. Before PostgreSQL 17 files that use a value which one of them
        adds to an enum cannot be in one; then the schema is made first, by transactions of its own,
        and becomes somebody's in the caller's. Where that ends early the schema is dropped; where
        the process is killed, the next who builds one so does it.

        Args:
            named: returns a new name each time.
            files: of this deployment.
            enter: called with the name.
            after: ends after the caller's transaction.

        Raises:
            SchemaNameTakenError: each of several names was taken.
            MigrationError: a file failed; names the file, the line and the SQLSTATE.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            name = named()
            try:
                await self._built(name, files, enter, after)
            except SchemaNameTakenError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return name
        raise AssertionError

    @asynccontextmanager
    async def tidy(self) -> AsyncIterator[None]:
        """Leave nothing in the session of files that ran in the block, however that ends."""
        try:
            yield
        finally:
            if self._untidy and not self._conn.is_closed():
                await self._tidied()
            self._untidy = False

    async def _tidied(self) -> None:
        try:
            await self._conn.execute(_FORGET)
            if prepared := await self._conn.fetchval(_PREPARED):
                await self._conn.execute(prepared)
        except BaseException as error:
            _log.warning("a connection is closed: %s", type(error).__name__)
            self._conn.terminate()
            if not isinstance(error, (asyncpg.PostgresError, *LOST)):
                raise

    async def _built(self, name: str, files: Files, enter: Enter, after: AsyncExitStack) -> None:
        try:
            async with self._conn.transaction():
                await enter(name)
                await self.make_schema(name)
                self._untidy = True
                await migrate.apply_all(self._conn, self.settings, name, files.tenant)
        except MigrationFailedError as error:
            if error.failure.sqlstate != _UNSAFE_ENUM_VALUE:
                raise
            await self._built_apart(name, files, enter, after)

    async def _built_apart(
        self, name: str, files: Files, enter: Enter, after: AsyncExitStack
    ) -> None:
        try:
            # Until the caller's transaction has ended nobody can see whose the schema is.
            schema = await after.enter_async_context(
                migrate.built(self.settings, name, files.tenant)
            )
            async with self._conn.transaction():
                await enter(name)
                await self.rights.open_schema(name, new=True)
                await self.rights.open_tables(name)
                await migrate.keep(self._conn, schema)
        except (asyncpg.DuplicateSchemaError, asyncpg.DuplicateObjectError) as error:
            raise _taken(name) from error


def _taken(name: str) -> SchemaNameTakenError:
    return SchemaNameTakenError(
        f"there is a schema or a role {name} already, by chance: nothing was made; try again"
    )


def _seen(folder: Path) -> list[tuple[str, int, int, int]]:
    """Return what changes when a file below *folder* does."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # who reads it says so in words
                stat = Path(parent, name).stat()
                found.append((f"{parent}/{name}", stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return sorted(found)
