"""The rows of another database's schema, brought into one that has what our files make."""

import asyncio
import contextlib

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.identifiers import quoted
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.origin.bookkeeping import LEDGERS
from tenancy.migrate.origin.source import SEQUENCES, TABLES, Pipe, Source, SourceTable
from tenancy.migrate.shape import dump
from tenancy.migrate.shape.libpq import Section, dumped
from tenancy.migrate.upgrade import fresh, script
from tenancy.settings import Settings


async def definitions(settings: Settings, made: SchemaRef, major: int) -> dict[Section, list[str]]:
    """Return the statements that make the objects of the scratch schema *made* elsewhere.

    Args:
        settings: where it is.
        made: the schema.
        major: the server's version.
    """
    return {
        section: dump.statements(
            await dumped(settings.admin_dsn, made.name, section, major=major, privileges=True),
            made.name,
            settings.shared_schema,
        )
        for section in Section
    }


async def pour(  # noqa: PLR0913 - what comes from where, by name
    conn: asyncpg.Connection,
    schema: SchemaRef,
    source: Source,
    parts: dict[Section, list[str]],
    *,
    shared: str,
    without: frozenset[str],
    last: Migration,
) -> int:
    """Make the objects of *parts* in the empty *schema*, with the rows of *source*; count them.

    In the open transaction of *conn*. Indexes, constraints and triggers come after the rows: no
    trigger fires for them, and each constraint is checked once, over all.

    Args:
        conn: of the owner.
        schema: new.
        source: what is brought.
        parts: of `definitions`.
        shared: the shared schema's name.
        without: tables of the source that are left behind.
        last: the file that the schema stands at, for the words of an error.

    Raises:
        MigrationRefusedError: a table or column has no place here, rows are missing at the end, or
            do not keep a constraint; names it.
    """
    await fresh.enter(conn, schema, shared=shared)
    await _run(conn, schema, parts[Section.BEFORE], last)
    rows = 0
    for table, columns in _matched(await _tables(conn, schema), source.tables, without):
        rows += await _copied(conn, schema, source, table, columns)
    await _set_sequences(conn, schema, source)
    await _run(conn, schema, parts[Section.AFTER], last)
    return rows


async def _tables(conn: asyncpg.Connection, schema: SchemaRef) -> dict[str, SourceTable]:
    return {
        row["name"]: SourceTable(
            row["name"], row["quoted"], row["partitioned"], tuple(row["columns"])
        )
        for row in await conn.fetch(TABLES, schema.name)
    }


def _matched(
    ours: dict[str, SourceTable], theirs: dict[str, SourceTable], without: frozenset[str]
) -> list[tuple[SourceTable, list[str]]]:
    """Return which columns of which tables are brought: all of the source, or it is refused."""
    passed = without | (LEDGERS - ours.keys())
    brought = {name: table for name, table in theirs.items() if name not in passed}
    homeless = [name for name in brought if name not in ours] + [
        f"{name}.{column}"
        for name, table in brought.items()
        if name in ours
        for column in table.columns
        if column not in ours[name].columns
    ]
    if homeless:
        raise MigrationRefusedError(
            f"the files make no place for {', '.join(homeless)} of the other database: write a "
            "file that makes what is missing, drop it there, or leave tables behind with --without"
        )
    return [(table, list(table.columns)) for table in brought.values() if table.columns]


async def _copied(
    conn: asyncpg.Connection,
    schema: SchemaRef,
    source: Source,
    table: SourceTable,
    columns: list[str],
) -> int:
    pipe = Pipe()
    reading = asyncio.create_task(source.rows(table, pipe))
    try:
        written = await conn.copy_to_table(
            table.name, schema_name=schema.name, columns=columns, source=pipe.chunks()
        )
        read = await reading
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        column = f" ({error.column_name})" if error.column_name else ""
        raise MigrationRefusedError(
            f"a row of {table.name} does not fit here: {script.words(error)}{column}"
        ) from error
    finally:
        reading.cancel()
        with contextlib.suppress(BaseException):
            await reading
    if read != written:
        raise MigrationRefusedError(f"{table.name}: read {read[5:]} rows and wrote {written[5:]}")
    return int(str(written)[5:])


async def _set_sequences(conn: asyncpg.Connection, schema: SchemaRef, source: Source) -> None:
    for row in await conn.fetch(SEQUENCES, schema.name):
        theirs = source.sequences.get(row["of"] or "") or source.sequences.get(row["name"])
        if theirs is not None:
            last, called = await source.position(theirs)
            ours = f"{quoted(schema.name)}.{row['quoted']}"

            set_it = "SELECT pg_catalog.setval($1::text::pg_catalog.regclass, $2, $3)"
            await conn.execute(set_it, ours, last, called)


async def _run(
    conn: asyncpg.Connection, schema: SchemaRef, statements: list[str], last: Migration
) -> None:
    for statement in statements:
        try:
            await conn.execute(statement.replace(dump.PLACEHOLDER, schema.name))
        except asyncpg.PostgresError as error:
            head = " ".join(statement.split()[:6])
            raise MigrationRefusedError(
                f"the rows do not fit: {script.failed(last, error).message}, at {head} ..."
            ) from error
