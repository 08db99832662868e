"""A tenant read where it lives, all of it as of one moment."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from tenancy.errors import NotPortableError
from tenancy.migrate.ledger import carried, checkpoints, stamp
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.origin.source import SEQUENCES, TABLES, Pipe, Source, SourceTable
from tenancy.migrate.shape import dump
from tenancy.migrate.shape.description import Object
from tenancy.migrate.shape.fingerprint import fingerprint
from tenancy.migrate.shape.libpq import Section, dumped
from tenancy.portability import grants, likeness, quiet
from tenancy.portability.manifest import Portrait, Registered, Sequence, Table
from tenancy.portability.session import locked
from tenancy.provision import Administrator, Profile

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
        given: said instead of the rights that there are; None: these.
    """

    portrait: Portrait
    schema: SchemaRef
    _admin: Administrator
    _source: Source
    _names: tuple[str, str, str]
    _snapshot: str
    given: list[str] | None = None
    _dumps: dict[Section, list[str]] = field(default_factory=dict)

    async def structure(self, section: Section) -> list[str]:
        """Return the statements of *section*, which make the objects in any schema.

        Raises:
            DatabaseSetupError: as `shape.libpq.dumped`.
        """
        return [one for one in await self._dumped(section) if not grants.is_of_rights(one)]

    async def rights(self) -> list[str]:
        """Return the statements that say who may do what there, see `grants`.

        Raises:
            DatabaseSetupError: as `shape.libpq.dumped`.
        """
        if self.given is not None:
            return self.given
        schema, grantee, owner = self._names
        return [
            grants.homeless(one, schema=schema, grantee=grantee, owner=owner)
            for section in Section
            for one in await self._dumped(section)
            if grants.is_of_rights(one)
        ]

    async def objects(self) -> tuple[Object, ...]:
        """Return what that makes, object by object, as `likeness.objects` tells it."""
        return await likeness.objects(self._source.conn, self._admin, self.schema)

    async def _dumped(self, section: Section) -> list[str]:
        if section not in self._dumps:
            text = await dumped(
                self._admin.settings.admin_dsn,
                self.schema.name,
                section,
                major=self.portrait.server,
                privileges=True,
                snapshot=self._snapshot,
            )
            certain = _UNGUESSABLE.fullmatch(self.schema.name) is not None
            shared = self._admin.settings.shared_schema
            self._dumps[section] = dump.statements(text, self._names[0], shared, certain=certain)
        return self._dumps[section]

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
    admin: Administrator, profile: Profile, *, still: bool = False
) -> AsyncIterator[Living]:
    """Yield the tenant of *profile* as it is at this moment, however long the block takes.

    No file is applied to it meanwhile. Requests read and write it as ever, unless *still*: then
    those that write are waited for, and new ones wait.

    Raises:
        LockHeldError: its schema is being migrated.
        MigrationRefusedError: a file was begun and not finished there.
        NotPortableError: it has no schema.
        DatabaseSetupError, DatabaseUnavailableError: as `faults.connecting`; or the owner may not
            read a table.
    """
    async with locked(admin, profile) as (conn, schema):
        locks = await quiet.locks(conn, schema) if still else []
        async with seen(admin, profile, conn, schema, locks) as one:
            yield one


@asynccontextmanager
async def seen(
    admin: Administrator,
    profile: Profile,
    conn: asyncpg.Connection,
    schema: SchemaRef,
    locks: Iterable[str] = (),
) -> AsyncIterator[Living]:
    """Yield the tenant as *conn* sees it from now on, in a transaction that first takes *locks*.

    Raises:
        MoveError: as `quiet.hold`.
        MigrationRefusedError, NotPortableError, DatabaseSetupError: as `living`.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await quiet.hold(conn, locks)  # the snapshot is taken with the first query after them
        yield await _read(conn, admin, profile, schema)


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
