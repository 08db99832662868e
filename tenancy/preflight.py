"""What must be true of a server before it serves tenants; each fault says what to run."""

import logging

import asyncpg

from tenancy import identifiers, walls
from tenancy.errors import DatabaseSetupError
from tenancy.pool import pooler
from tenancy.settings import Isolation, Settings

_log = logging.getLogger(__name__)

OLDEST_SERVER = 15
ROLE_OPTIONS_SINCE = 16  # GRANT role ... WITH INHERIT, SET; before, the login's attribute decides
CATALOG_TABLES = ("tenants", "domains", "checkpoints")


async def check(conn: asyncpg.Connection, settings: Settings) -> None:
    """Refuse a server or a name with which a promise of SECURITY.md could not be kept.

    A login with more rights than it needs is let in with a warning; at level ``strict`` it is not.

    Raises:
        DatabaseSetupError: names the fault and the cure.
    """
    if conn.get_server_version().major < OLDEST_SERVER:
        raise DatabaseSetupError(
            f"this is PostgreSQL {conn.get_server_version().major}: use {OLDEST_SERVER} or newer"
        )
    await pooler.check(conn, settings)
    await _names(conn, settings)
    await _durability(conn, settings)
    await _registry(conn)
    await _login(conn, settings)
    await _walls(conn, settings)
    await _schemas(conn, settings)


async def _names(conn: asyncpg.Connection, settings: Settings) -> None:
    # The gate compares the path as the server prints it, and the server quotes its keywords.
    name = settings.shared_schema
    if await conn.fetchval("SELECT pg_catalog.quote_ident($1)", name) != name:
        raise DatabaseSetupError(
            f"TENANCY_SHARED_SCHEMA={name} is a word of SQL: choose another name"
        )


async def _durability(conn: asyncpg.Connection, settings: Settings) -> None:
    off = await conn.fetch(
        "SELECT name FROM pg_catalog.pg_settings "
        "WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'"
    )
    if off and settings.require_durability:
        names = ", ".join(row["name"] for row in off)
        raise DatabaseSetupError(
            f"{names} is off on this server, so a crash loses what was acknowledged: turn it on, "
            "or set TENANCY_REQUIRE_DURABILITY=false where that does not matter"
        )


async def _registry(conn: asyncpg.Connection) -> None:
    rows = await conn.fetch(
        "SELECT c.relname AS name, pg_catalog.has_schema_privilege(n.oid, 'USAGE') "
        "AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable "
        "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1",
        identifiers.CATALOG_SCHEMA,
    )
    readable = {row["name"]: row["readable"] for row in rows}
    for table in CATALOG_TABLES:
        if table not in readable:
            raise DatabaseSetupError(
                f"the registry's table {table} is missing: run `python -m tenancy.migrate`"
            )
        if not readable[table]:
            raise DatabaseSetupError(
                f"the login may not read the registry's table {table}: "
                "run `python -m tenancy tenants grant`"
            )


async def _login(conn: asyncpg.Connection, settings: Settings) -> None:
    if settings.isolation is Isolation.SCHEMA:
        return
    inherits = "rolinherit"
    if conn.get_server_version().major >= ROLE_OPTIONS_SINCE:
        inherits = (
            "EXISTS (SELECT FROM pg_catalog.pg_auth_members m "
            "WHERE m.member = r.oid AND m.inherit_option)"
        )
    too_much = await conn.fetchval(
        f"SELECT rolsuper OR rolbypassrls OR {inherits} FROM pg_catalog.pg_roles r "
        "WHERE rolname = session_user"
    )
    if not too_much:
        return
    fault = (
        "requests run as a login that is a superuser, bypasses row security or inherits its roles' "
        "rights: code that leaves the gate could reach every tenant; give them a login of their "
        "own, LOGIN NOINHERIT, and migrations another in TENANCY_ADMIN_DATABASE_URL"
    )
    if settings.isolation is Isolation.STRICT:
        raise DatabaseSetupError(fault)
    _log.warning(fault)


async def _schemas(conn: asyncpg.Connection, settings: Settings) -> None:
    """Refuse tenants that were provisioned for another level; one that is broken stops no other."""
    whom = "r.oid" if settings.isolation.sets_role else "l.oid"
    row = await conn.fetchrow(
        "SELECT count(*) AS all, count(*) FILTER (WHERE pg_catalog.has_schema_privilege("
        f"{whom}, n.oid, 'USAGE')) AS open FROM {identifiers.CATALOG_SCHEMA}.tenants t "
        "JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema_name::name "
        "JOIN pg_catalog.pg_roles l ON l.rolname = session_user "
        "LEFT JOIN pg_catalog.pg_roles r ON r.rolname = t.schema_name::name "
        "WHERE t.state NOT IN ('suspended', 'deleting')"  # one that has moved away is closed
    )
    if row["open"] == row["all"]:
        return
    who = "their own roles" if settings.isolation.sets_role else "the login of requests"
    if row["open"]:
        _log.warning(
            "%d of %d tenants' schemas are closed to %s: run `python -m tenancy tenants grant`",
            row["all"] - row["open"],
            row["all"],
            who,
        )
        return
    raise DatabaseSetupError(
        f"the tenants' schemas are closed to {who}, whom requests run as at "
        f"TENANCY_ISOLATION={settings.isolation}: run `python -m tenancy tenants grant`"
    )


async def _walls(conn: asyncpg.Connection, settings: Settings) -> None:
    still_open = await walls.missing(conn, settings)
    if still_open:
        raise DatabaseSetupError(
            f"TENANCY_ISOLATION=strict, and PUBLIC has {len(still_open)} rights too many in this "
            f"database, {still_open[0]} among them: as a superuser run {walls.COMMAND}"
        )
    # tenancy.shared() has no tenant's role around it, only the login's own rights.
    if settings.isolation is Isolation.STRICT and await conn.fetchval(
        "SELECT has_function_privilege(session_user, 'set_config(text, text, boolean)', 'EXECUTE')"
    ):
        raise DatabaseSetupError(
            "TENANCY_ISOLATION=strict, and the login of TENANCY_DATABASE_URL was granted "
            "set_config(), by which a query can become any tenant's role: give requests a login "
            "that is not the owner's, and was granted nothing of what the walls take from PUBLIC"
        )
