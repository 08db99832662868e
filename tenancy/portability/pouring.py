"""An image becomes the objects and rows of a new schema, in one transaction of the caller's."""

import re
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from tenancy.errors import NotPortableError
from tenancy.identifiers import literal, quoted, quoted_login
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape import dump
from tenancy.migrate.shape.libpq import Section
from tenancy.migrate.upgrade import fresh, script
from tenancy.migrate.upgrade.session import is_lost
from tenancy.portability import grants
from tenancy.portability.image import Image
from tenancy.portability.manifest import Sequence as Position
from tenancy.portability.manifest import Table
from tenancy.portability.session import FORMS
from tenancy.provision import Administrator

LOCK_TIMEOUT_SECONDS = 60  # of a shared table that foreign keys refer to

_REFRESH = "REFRESH MATERIALIZED VIEW "
_FIRST_WORDS = re.compile(r"\S+(?:\s+\S+){0,5}")


async def pour(
    admin: Administrator,
    image: Image,
    schema: SchemaRef,
    *,
    data: bool = True,
    then: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Make the objects of *image* in the empty *schema*, with its rows; count these.

    In the open transaction, whose path is the schema's afterwards. Indexes, constraints and
    triggers come after the rows: no trigger fires for them, and each constraint is checked once.

    Args:
        admin: of the database that *schema* is in.
        image: what is to be made.
        schema: of `Administrator.make_schema`: its role and its rights are there.
        data: whether rows come along, and sequences go on where they stood.
        then: called when all is there but what materialized views show, and the rights.

    Raises:
        NotPortableError: something cannot be made here; says what.
        ArchiveError: the image is damaged.
    """
    conn, portrait = admin.connection, image.portrait
    await _enter(admin, schema)
    await _make(conn, schema, await image.structure(Section.BEFORE))
    rows = 0
    if data:
        for table in portrait.tables:
            rows += await _copy(conn, schema, image, table)
        for sequence in portrait.sequences:
            await _set(conn, schema, sequence)
    after = await image.structure(Section.AFTER)
    await _make(conn, schema, [one for one in after if not one.startswith(_REFRESH)])
    if then is not None:
        await then()
        await _enter(admin, schema)  # again, whatever that has set for itself
    await _make(conn, schema, [one for one in after if one.startswith(_REFRESH)])
    await _grant(admin, schema, await image.rights(), apart=portrait.apart)
    return rows


async def _enter(admin: Administrator, schema: SchemaRef) -> None:
    await fresh.enter(admin.connection, schema, shared=admin.settings.shared_schema)
    forms = {**FORMS, "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s"}
    await admin.connection.execute(
        "; ".join(f"SET LOCAL {name} = {literal(value)}" for name, value in forms.items())
    )


async def _make(conn: asyncpg.Connection, schema: SchemaRef, statements: Sequence[str]) -> None:
    for statement in statements:
        try:
            await conn.execute(statement.replace(dump.PLACEHOLDER, schema.name))
        except asyncpg.OutOfMemoryError as error:
            raise NotPortableError(
                "the server's lock table is full, for all of the tenant is made in one "
                "transaction: raise max_locks_per_transaction, restart the server, and try again"
            ) from error
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            head = _FIRST_WORDS.match(statement)
            raise NotPortableError(
                f"cannot be made here: {script.words(error)} [{error.sqlstate}], at "
                f"{head[0] if head else ''} ..."
            ) from error


async def _copy(conn: asyncpg.Connection, schema: SchemaRef, image: Image, table: Table) -> int:
    async with image.rows(table) as rows:
        try:
            tag = await conn.copy_to_table(
                table.name, schema_name=schema.name, columns=table.columns, source=rows.chunks()
            )
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise NotPortableError(
                f"a row of {table.name} does not fit here: {script.words(error)}"
            ) from error
        read, wrote = await rows.count(), int(tag.removeprefix("COPY "))
    if read != wrote:
        raise NotPortableError(f"{table.name}: {read} rows were to come, and {wrote} came")
    return wrote


async def _set(conn: asyncpg.Connection, schema: SchemaRef, sequence: Position) -> None:
    await conn.execute(
        "SELECT pg_catalog.setval($1::text::pg_catalog.regclass, $2, $3)",
        f"{quoted(schema.name)}.{quoted_login(sequence.name)}",
        sequence.last_value,
        sequence.is_called,
    )


async def _grant(
    admin: Administrator, schema: SchemaRef, rights: Sequence[str], *, apart: bool
) -> None:
    """Give what was given there; whoever requests run as has the standard rights till now."""
    name, is_owner = await admin.rights.grantee(schema.name)
    grantee = quoted_login(name)
    if is_owner or not apart:  # one side has nothing to say of rights that an owner has anyway
        rights = [one for one in rights if not grants.concerns_grantee(one)]
    else:
        await admin.connection.execute(
            f"REVOKE ALL ON ALL TABLES IN SCHEMA {quoted(schema.name)} FROM {grantee}; "
            f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {quoted(schema.name)} FROM {grantee}"
        )
    named = [one.replace(grants.GRANTEE, grantee) for one in rights]
    await _make(admin.connection, schema, named)
