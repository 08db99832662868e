"""Making a report's view, taking it away from its tables, and making it again."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from tenancy.errors import InvalidReportError, ReportDependedOnError, ReportInUseError
from tenancy.identifiers import REPORTS_SCHEMA
from tenancy.reports import members, readers, records
from tenancy.reports import text as texts
from tenancy.reports.records import Report
from tenancy.reports.text import Member

LOCK_SECONDS = 2

# Whoever asks a report that is aside is told so: no rows would be a wrong answer. A function's
# columns, for the server works out beforehand what a condition on constants comes to.
_ASIDE = f"""
    CREATE OR REPLACE FUNCTION {REPORTS_SCHEMA}.aside()
    RETURNS TABLE (nothing text) LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        RAISE EXCEPTION 'the tables of this report are being changed: ask again later'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END
    $$
"""
_COLUMNS = """
    SELECT pg_catalog.quote_ident(a.attname) AS name,
           pg_catalog.format_type(a.atttypid, a.atttypmod)
               || coalesce(' COLLATE ' || pg_catalog.quote_ident(n.nspname) || '.'
                           || pg_catalog.quote_ident(c.collname), '') AS type
    FROM pg_catalog.pg_attribute AS a
    LEFT JOIN pg_catalog.pg_collation AS c ON c.oid = a.attcollation
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace
    WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 ORDER BY a.attnum
"""
_READING = """
    SELECT v.relname::text AS name FROM pg_catalog.pg_class AS v
    JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = v.oid
    JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
       AND d.refclassid = 'pg_class'::regclass
    JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid
    WHERE v.relnamespace = pg_catalog.to_regnamespace($2)
      AND c.relnamespace = pg_catalog.to_regnamespace($1)
    GROUP BY v.relname ORDER BY v.relname
"""
_BUSY = """
    SELECT a.application_name, a.pid FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.relation = pg_catalog.to_regclass($1) AND l.granted
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND l.pid <> pg_catalog.pg_backend_pid() LIMIT 1
"""


async def create(conn: asyncpg.Connection, report: Report) -> Report:
    """Make *report*, which is written down, in the open transaction.

    Raises:
        InvalidReportError: no tenant has such a table, or such columns.
        ReportTooLargeError: the server has no room for the locks of a query.
    """
    found = await members.of_table(conn, report.table)
    chosen = await _quoted(conn, report.columns)
    _refuse_unknown(report, found, chosen)
    await conn.execute(f"CREATE SCHEMA IF NOT EXISTS {REPORTS_SCHEMA}; {_ASIDE}")
    await _make(conn, report, found, chosen)
    return await records.held(conn, report.name)


async def refresh(
    conn: asyncpg.Connection,
    name: str,
    under_way: Callable[[asyncpg.Connection], Awaitable[bool]] | None = None,
) -> bool:
    """Let the report *name* read the tables that there are; return whether that changed it.

    Args:
        conn: of the owner of schemas.
        name: the report's.
        under_way: whether tables are being changed; then one that is aside stays so.

    Raises:
        UnknownReportError: there is none.
        ReportTooLargeError: as `create`.
        ReportInUseError: somebody reads it, or a table of it is being changed.
        ReportDependedOnError: another view depends on columns that it would have no more.
    """
    async with conn.transaction():
        await _soon(conn)
        report = await records.held(conn, name)
        # A run that begins after this waits for the row: it is aside before its tables are changed.
        if report.aside_at and under_way is not None and await under_way(conn):
            return False
        return await _remade(conn, report)


async def set_aside(conn: asyncpg.Connection, name: str) -> None:
    """Let the report *name* read no table, and say so to whoever asks, until it is refreshed.

    Raises:
        ReportInUseError: somebody reads it.
    """
    async with conn.transaction():
        await _soon(conn)
        report = await records.held(conn, name)
        if report.aside_at:
            return
        columns = await conn.fetch(_COLUMNS, report.view)
        if columns:
            header = ", ".join(row["name"] for row in columns)
            values = ", ".join(f"nothing::{row['type']}" for row in columns)
            view = f"VIEW {report.view} ({header}) AS SELECT {values} FROM {REPORTS_SCHEMA}.aside()"
            await _locked(conn, report, f"CREATE OR REPLACE {view}")
        await records.aside(conn, name)


async def release(conn: asyncpg.Connection, schema: str) -> None:
    """Let no report read a table of *schema* any more; its tenant is on its way out.

    Raises:
        ReportInUseError, ReportDependedOnError: as `refresh`.
    """
    found = await conn.fetch(_READING, schema, REPORTS_SCHEMA)
    for row in found:
        async with conn.transaction():
            await _soon(conn)
            await _remade(conn, await records.held(conn, row["name"]))


async def drop(conn: asyncpg.Connection, report: Report) -> None:
    """Drop *report*, in the open transaction.

    Raises:
        ReportInUseError: somebody reads it.
        ReportDependedOnError: another view depends on it.
    """
    await _soon(conn)
    await _locked(conn, report, f"DROP VIEW IF EXISTS {report.view}")
    await records.forget(conn, report.name)
    await readers.dismiss(conn, report.reader)


async def _soon(conn: asyncpg.Connection) -> None:
    # Whoever asks the report meanwhile waits behind us.
    await conn.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:d}s'")


async def _remade(conn: asyncpg.Connection, report: Report) -> bool:
    found = await members.of_table(conn, report.table)
    return await _make(conn, report, found, await _quoted(conn, report.columns))


async def _make(
    conn: asyncpg.Connection,
    report: Report,
    found: list[Member],
    chosen: Sequence[str] | None,
) -> bool:
    default = await members.default_collation(conn)
    text = texts.view(report.view, found, chosen, default)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if report.digest == digest and await conn.fetchval(
        "SELECT pg_catalog.to_regclass($1) IS NOT NULL", report.view
    ):
        return False
    await members.refuse_crowded(conn, report.name, found)
    try:
        async with conn.transaction():  # keeps what depends on it
            await _locked(conn, report, f"CREATE OR REPLACE {text}")
    except asyncpg.InvalidTableDefinitionError:
        await _locked(conn, report, f"DROP VIEW {report.view}; CREATE {text}")
    await readers.admit(conn, report)
    await records.made(conn, report.name, len(found), digest)
    return True


async def _locked(conn: asyncpg.Connection, report: Report, sql: str) -> None:
    try:
        async with conn.transaction():
            await conn.execute(sql)
    except asyncpg.LockNotAvailableError as error:
        row = await conn.fetchrow(_BUSY, report.view)
        who = "somebody changes a table of it"
        if row is not None:
            who = f"{row['application_name'] or 'a session'} reads it (server process {row['pid']})"
        raise ReportInUseError(f"the report {report.name!r} cannot be changed: {who}") from error
    except asyncpg.DependentObjectsStillExistError as error:
        raise ReportDependedOnError(
            f"the report {report.name!r} is to go, or to have other columns, and another view "
            "depends on it: drop that one first"
        ) from error


async def _quoted(conn: asyncpg.Connection, names: Sequence[str] | None) -> Sequence[str] | None:
    if names is None:
        return None
    rows = await conn.fetch(
        "SELECT pg_catalog.quote_ident(n) AS name "
        "FROM unnest($1::text[]) WITH ORDINALITY AS u (n, i) ORDER BY i",
        names,
    )
    return [row["name"] for row in rows]


def _refuse_unknown(report: Report, found: Sequence[Member], chosen: Sequence[str] | None) -> None:
    if not found:
        raise InvalidReportError(f"no tenant has a table {report.table!r}")
    if chosen is None:
        if clashing := texts.clashes(found):
            raise InvalidReportError(
                f"the table {report.table!r} has {', '.join(clashing)}, as the report itself has: "
                "name the other columns with --columns"
            )
        return
    known = {name for member in found for name in member.columns}
    if unknown := [name for name in chosen if name not in known]:
        raise InvalidReportError(f"no tenant's {report.table!r} has the column {unknown[0]}")
    if doubled := [name for name in chosen if name in texts.OURS or chosen.count(name) > 1]:
        raise InvalidReportError(f"the report would have the column {doubled[0]} twice")
