"""Who may read reports: one role for each, and nobody whom a tenant's request can be."""

import asyncpg

from tenancy.errors import InvalidReportError
from tenancy.identifiers import REPORTS_SCHEMA, quoted_login
from tenancy.reports.records import Report

# Whoever is a member can become it, and read with its rights.
_WITHIN_REACH = """
    SELECT r.rolname = $2 OR pg_catalog.pg_has_role($2::name, r.oid, 'MEMBER')
        AND NOT (SELECT l.rolsuper FROM pg_catalog.pg_roles AS l WHERE l.rolname = $2) AS of_login,
           EXISTS (SELECT FROM tenancy.tenants AS t
                   JOIN pg_catalog.pg_roles AS o ON o.rolname = t.schema_name
                   WHERE pg_catalog.pg_has_role(o.oid, r.oid, 'MEMBER')) AS of_tenant
    FROM pg_catalog.pg_roles AS r WHERE r.rolname = $1
"""
_GRANTED = """
    SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(
               pg_catalog.pg_get_userbyid(g.grantee)) END AS grantee
    FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(c.relacl) AS g
    WHERE c.oid = $1::text::regclass AND g.grantee <> c.relowner
    GROUP BY 1
"""


async def refuse_unfit(conn: asyncpg.Connection, reader: str, login: str) -> None:
    """Pass if the role *reader* is there, and no request can become it.

    Args:
        conn: of the owner of schemas.
        reader: a role.
        login: whom requests connect as.

    Raises:
        InvalidReportError: says why not.
    """
    row = await conn.fetchrow(_WITHIN_REACH, reader, login)
    if row is None:
        raise InvalidReportError(
            f"there is no role {reader!r}: as a superuser run CREATE ROLE "
            f"{quoted_login(reader)} LOGIN, or name another reader"
        )
    if row["of_login"] or row["of_tenant"]:
        who = "the login of requests" if row["of_login"] else "a tenant's role"
        raise InvalidReportError(
            f"{who} is the role {reader!r}, or a member of it, and so a tenant's request could "
            "read all tenants' rows: name another reader"
        )


async def admit(conn: asyncpg.Connection, report: Report) -> None:
    """Let the reader of *report* read it, and nobody else but its owner."""
    reader = quoted_login(report.reader)
    await conn.execute(f"GRANT USAGE ON SCHEMA {REPORTS_SCHEMA} TO {reader}")
    granted = {row["grantee"] for row in await conn.fetch(_GRANTED, report.view)}
    for other in sorted(granted - {report.reader, reader}):  # by default privileges
        await conn.execute(f"REVOKE ALL ON {report.view} FROM {other}")
    await conn.execute(f"GRANT SELECT ON {report.view} TO {reader}")


async def dismiss(conn: asyncpg.Connection, reader: str) -> None:
    """Let *reader* no more into the schema of reports, unless it may read another one."""
    if await conn.fetchval("SELECT count(*) FROM tenancy.reports WHERE reader = $1", reader):
        return
    if await conn.fetchval("SELECT true FROM pg_catalog.pg_roles WHERE rolname = $1", reader):
        await conn.execute(f"REVOKE ALL ON SCHEMA {REPORTS_SCHEMA} FROM {quoted_login(reader)}")
