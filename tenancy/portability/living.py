"""A tenant read where it lives, all of it as of one moment."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg

from tenancy.errors import NotPortableError
from tenancy.faults import connecting
from tenancy.migrate.ledger import carried, checkpoints, stamp
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.origin.source import SEQUENCES, TABLES, Pipe, Source, SourceTable
from tenancy.migrate.shape import dump
from tenancy.migrate.shape.description import Object
from tenancy.migrate.shape.fingerprint import fingerprint
from tenancy.migrate.shape.libpq import Section, dumped
from tenancy.migrate.upgrade import lock
from tenancy.portability import grants, likeness, quiet
from tenancy.portability.manifest import Portrait, Registered, Sequence, Table
from tenancy.provision import Administrator, Profile
from tenancy.settings import Settings, variable

CONNECT_TIMEOUT_SECONDS = 10.0

# As pg_dump sets them, so that every value is written in the form that any server reads.
FORMS = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
}
_SESSION = {
    "application_name": "tenancy export",
    "search_path": "",
    "default_transaction_read_only": "on",
    "row_security": "off",  # an error is better than rows left out
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    **FORMS,
}
# A name that `identifiers.schema_name` has made means the schema wherever it stands.
_UNGUESSABLE = re.compile(r"t_[a-z0-9_]+_[0-9a-f]{6}")
_REGISTERED = """
    SELECT t.id, t.slug, coalesce(t.state_before, t.state) AS state, t.settings::text AS settings,
           t.created_at, t.former_slugs,
           ARRAY(SELECT d.name FROM tenancy.domains AS d
                 WHERE d.tenant_id = t.id AND d.verified_at IS NOT NULL
                 ORDER BY d.is_primary DESC, d.name) AS domains,
           EXISTS (SELECT FROM tenancy.domains AS d WHERE d.tenant_id = t.id
                   AND d.verified_at IS NOT NULL AND d.is_primary) AS has_primary
    FROM tenancy.tenants AS t WHERE t.id = $1 AND t.purge_begun_at IS NULL
"""
_NAMES = """
    SELECT pg_catalog.quote_ident(n.nspname) AS schema,
           pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(n.nspowner)) AS owner
    FROM pg_catalog.pg_namespace AS n WHERE n.oid = $1
"""


class _Stream:
    """Rows on their way from the server, a few pieces at a time."""

    def __init__(self, source: Source, table: SourceTable) -> None:
        self._pipe = Pipe()
        self._reading = asyncio.create_task(source.rows(table, self._pipe))

    def chunks(self) -> AsyncIterator[bytes]:
        return self._pipe.chunks()

    async def count(self) -> int:
        return int((await self._reading).removeprefix("COPY "))

    async def end(self) -> None:
        self._reading.cancel()
        with contextlib.suppress(BaseException):
            await self._reading


@dataclass(frozen=True, slots=True)
class Living:
    """A tenant in its database; an `image.Image`.

    Attributes:
        schema: its own.
    """

    portrait: Portrait
    schema: SchemaRef
    _admin: Administrator
    _source: Source
    _names: tuple[str, str, str]
    _snapshot: str

    async def structure(self, section: Section) -> list[str]:
        """Return the statements of *section*, which make the objects in any schema.

        Raises:
            DatabaseSetupError: as `shape.libpq.dumped`.
        """
        schema, grantee, owner = self._names
        text = await dumped(
            self._admin.settings.admin_dsn,
            self.schema.name,
            section,
            major=self.portrait.server,
            privileges=True,
            snapshot=self._snapshot,
        )
        certain = _UNGUESSABLE.fullmatch(self.schema.name) is not None
        found = dump.statements(text, schema, self._admin.settings.shared_schema, certain=certain)
        return [
            grants.homeless(one, schema=schema, grantee=grantee, owner=owner)
            if grants.is_of_rights(one)
            else one
            for one in found
        ]

    async def objects(self) -> tuple[Object, ...]:
        """Return what that makes, object by object, as `likeness.objects` tells it."""
        return await likeness.objects(self._source.conn, self._admin, self.schema)

    @asynccontextmanager
    async def rows(self, table: Table) -> AsyncIterator[_Stream]:
        """Open the rows of *table*; one at a time."""
        stream = _Stream(self._source, self._source.tables[table.name])
        try:
            yield stream
        finally:
            await stream.end()


@asynccontextmanager
async def living(
    admin: Administrator, profile: Profile, *, still: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Living]:
    """Yield the tenant of *profile* as it is at this moment, however long the block takes.

    No file is applied to it meanwhile. It is read and written by requests as ever, unless *still*
    is given: that is called as soon as no file can be, and from then on those that write wait.

    Raises:
        LockHeldError: its schema is being migrated.
        MigrationRefusedError: a file was begun and not finished there.
        NotPortableError: it has no schema.
        DatabaseSetupError, DatabaseUnavailableError: as `faults.connecting`; or the owner may not
            read a table.
    """
    settings = admin.settings
    async with AsyncExitStack() as stack:
        conn = await _connected(settings)
        stack.push_async_callback(_closed, conn)
        schema = await checkpoints.schema(conn, profile.tenant.schema)
        if schema is None:
            raise NotPortableError(f"the tenant {profile.tenant.slug} has no schema")
        await stack.enter_async_context(lock.held(conn, schema.oid))
        locks: list[str] = []
        if still is not None:
            await still()
            locks = await quiet.locks(conn, schema)
        await stack.enter_async_context(
            conn.transaction(isolation="repeatable_read", readonly=True)
        )
        await quiet.hold(conn, locks)  # first, for the snapshot is taken with the first query
        yield await _read(conn, admin, profile, schema)


async def _connected(settings: Settings) -> asyncpg.Connection:
    name = "admin_database_url" if settings.admin_database_url else "database_url"
    with connecting(variable(name)):
        return await asyncpg.connect(
            settings.admin_dsn,
            timeout=CONNECT_TIMEOUT_SECONDS,
            statement_cache_size=0,
            server_settings=_SESSION,
        )


async def _closed(conn: asyncpg.Connection) -> None:
    with contextlib.suppress(Exception):  # it was only read
        await conn.close(timeout=CONNECT_TIMEOUT_SECONDS)


async def _read(
    conn: asyncpg.Connection, admin: Administrator, profile: Profile, schema: SchemaRef
) -> Living:
    snapshot = await conn.fetchval("SELECT pg_catalog.pg_export_snapshot()")
    row = await conn.fetchrow(_REGISTERED, profile.tenant.id)
    if row is None:
        raise NotPortableError(f"the tenant {profile.tenant.slug} is being purged, or is gone")
    names = await conn.fetchrow(_NAMES, schema.oid)
    grantee, is_owner = await admin.rights.grantee(schema.name)
    facts = await checkpoints.facts(conn, schema)
    tables = [
        SourceTable(one["name"], one["quoted"], one["partitioned"], tuple(one["columns"]))
        for one in await conn.fetch(TABLES, schema.name)
    ]
    sequences = {one["name"]: one["quoted"] for one in await conn.fetch(SEQUENCES, schema.name)}
    source = Source(
        *(conn, admin.settings.admin_dsn, "the owner's address", schema.name, names["schema"]),
        {one.name: one for one in tables},
        sequences,
    )
    portrait = Portrait(
        server=conn.get_server_version().major,
        tenant=Registered(**{**row, "settings": json.loads(row["settings"])}),
        ledger=await carried.take(conn, schema),
        schema_name=schema.name,
        comment=stamp.without(facts.comment),
        fingerprint=await fingerprint(conn, schema),
        apart=not is_owner,
        tables=tuple(Table(name=one.name, columns=one.columns) for one in tables),
        sequences=tuple([await _position(source, name) for name in sequences]),
    )
    written = await conn.fetchval("SELECT pg_catalog.quote_ident($1)", grantee)
    return Living(
        *(portrait, schema, admin, source, (names["schema"], written, names["owner"])),
        snapshot,
    )


async def _position(source: Source, name: str) -> Sequence:
    last, called = await source.position(source.sequences[name])
    return Sequence(name=name, last_value=last, is_called=called)
