"""Another database whose one schema becomes a tenant's: read, and never written to."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Self

import asyncpg

from tenancy.errors import DatabaseSetupError, MigrationRefusedError
from tenancy.faults import connecting
from tenancy.identifiers import quoted_login
from tenancy.migrate.origin.inherited import MOST
from tenancy.migrate.shape import dump
from tenancy.migrate.shape.libpq import Section, dumped

CONNECT_TIMEOUT_SECONDS = 10.0
CHUNKS = 16  # on their way from one database to the other

_SESSION = {
    "application_name": "tenancy adopt",
    "search_path": "",
    "default_transaction_read_only": "on",
    "row_security": "off",  # an error is better than rows left out
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# Partitions come with their table, generated columns by themselves.
TABLES = """
    SELECT c.relname::text AS name, pg_catalog.quote_ident(c.relname) AS quoted,
           c.relkind = 'p' AS partitioned,
           coalesce(pg_catalog.array_agg(a.attname::text ORDER BY a.attnum)
                    FILTER (WHERE a.attname IS NOT NULL), '{}') AS columns
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
    LEFT JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                        AND d.objid = c.oid AND d.deptype = 'e')
    GROUP BY c.oid, c.relname, c.relkind ORDER BY c.relname
"""
SEQUENCES = """
    SELECT c.relname::text AS name, pg_catalog.quote_ident(c.relname) AS quoted,
           t.relname || '.' || a.attname AS of
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relkind = 'S'
    LEFT JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
        AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    LEFT JOIN pg_catalog.pg_class AS t ON t.oid = d.refobjid
    LEFT JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE n.nspname = $1 ORDER BY c.relname
"""


_HIDDEN = """
    SELECT 'the schema itself' AS name FROM pg_catalog.pg_namespace
    WHERE nspname = $1 AND NOT pg_catalog.has_schema_privilege(oid, 'USAGE')
    UNION ALL
    SELECT c.relname FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'S', 'v', 'm')
      AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
"""


@dataclass(frozen=True, slots=True)
class Source:
    """The other database, in one transaction that sees one moment of it.

    Attributes:
        where: what an error calls the address.
        quoted: the schema's name as an SQL identifier.
        tables: those with rows to bring: as an identifier, what they are read from, and columns.
        sequences: an identifier by its name, and by the column that owns it.
    """

    conn: asyncpg.Connection
    dsn: str
    where: str
    schema: str
    quoted: str
    tables: dict[str, "SourceTable"]
    sequences: dict[str, str]

    async def definitions(self, shared: str) -> list[str]:
        """Return the statements that make the schema's objects elsewhere.

        Raises:
            DatabaseSetupError: as `shape.libpq.dumped`.
        """
        major = self.conn.get_server_version().major
        texts = [await dumped(self.dsn, self.schema, part, major=major) for part in Section]
        return [
            statement
            for text in texts
            for statement in dump.statements(text, self.quoted, shared, certain=False)
        ]

    async def rows(self, table: "SourceTable", into: "Pipe") -> str:
        """Send the rows of *table* through *into*; return the tag that counts them."""
        names = ", ".join(map(quoted_login, table.columns))
        only = "" if table.partitioned else "ONLY "
        query = f"SELECT {names} FROM {only}{self.quoted}.{table.quoted}"
        async with into:
            with self.readable():
                return str(await self.conn.copy_from_query(query, output=into.put))

    async def position(self, sequence: str) -> tuple[int, bool]:
        """Return the last value of *sequence*, and whether it was given out."""
        with self.readable():
            row = await self.conn.fetchrow(
                f"SELECT last_value, is_called FROM {self.quoted}.{sequence}"
            )
        return row["last_value"], row["is_called"]

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Raise DatabaseSetupError where the source's login may not read something."""
        try:
            yield
        except asyncpg.InsufficientPrivilegeError as error:
            raise _unreadable(self.where, self.quoted, str(error.args[0])) from error


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table of the source."""

    name: str
    quoted: str
    partitioned: bool
    columns: tuple[str, ...]


class Pipe:
    """What one connection reads and another one writes, a few pieces at a time."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(CHUNKS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not asyncio.CancelledError:  # then nobody takes anything out any more
            await self._chunks.put(None)

    async def put(self, chunk: bytes) -> None:
        """Add *chunk*, as soon as there is room."""
        await self._chunks.put(bytes(chunk))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what was put in, until its writer is done."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk


@asynccontextmanager
async def reading(dsn: str, where: str, schema: str) -> AsyncIterator[Source]:
    """Connect to the source, for reading alone.

    Args:
        dsn: its address.
        where: what an error calls it: the variable or file that it came from.
        schema: the one to be brought.

    Raises:
        SettingsError, DatabaseSetupError, DatabaseUnavailableError: as `faults.connecting`.
        MigrationRefusedError: it has no such schema.
    """
    with connecting(where):
        conn = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_SECONDS,
            statement_cache_size=0,
            server_settings=_SESSION,
        )
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            yield await _source(conn, dsn, where, schema)
    finally:
        with suppress(Exception):  # it was only read
            await conn.close(timeout=CONNECT_TIMEOUT_SECONDS)


def _unreadable(where: str, schema: str, what: str) -> DatabaseSetupError:
    return DatabaseSetupError(
        f"the login of {where} may not read all of the schema {schema} ({what}): there, run GRANT "
        f"USAGE ON SCHEMA {schema} TO <login>, GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO "
        f"<login> and GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO <login>; where tables "
        "have row-level security, ALTER ROLE <login> BYPASSRLS"
    )


async def _source(conn: asyncpg.Connection, dsn: str, where: str, schema: str) -> Source:
    quoted = await conn.fetchval(
        "SELECT pg_catalog.quote_ident(nspname) FROM pg_catalog.pg_namespace WHERE nspname = $1",
        schema,
    )
    if quoted is None:
        raise MigrationRefusedError(f"the other database has no schema {schema!r}")
    hidden = [row["name"] for row in await conn.fetch(_HIDDEN, schema)]
    if hidden:
        raise _unreadable(where, quoted, f"not {', '.join(hidden[:MOST])}")
    tables = [
        SourceTable(row["name"], row["quoted"], row["partitioned"], tuple(row["columns"]))
        for row in await conn.fetch(TABLES, schema)
    ]
    sequences: dict[str, str] = {}
    for row in await conn.fetch(SEQUENCES, schema):
        sequences |= {
            row["name"]: row["quoted"],
            **({row["of"]: row["quoted"]} if row["of"] else {}),
        }
    named = {table.name: table for table in tables}
    return Source(conn, dsn, where, schema, quoted, named, sequences)
