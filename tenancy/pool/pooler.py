"""A connection pooler in between, and what a session starts with, there and elsewhere."""

import logging
import secrets

import asyncpg

from tenancy.errors import DatabaseSetupError
from tenancy.identifiers import literal, quoted_login
from tenancy.settings import Pooler, Settings, milliseconds

_log = logging.getLogger(__name__)

_CURE = "run `python -m tenancy doctor`, which says how"
_TRIES = 20
PROMISED = {"search_path", "synchronous_commit"}


def session(settings: Settings) -> dict[str, str]:
    """Return the settings that each session of requests starts with, and that RESET ALL returns to.

    Given at each connection; behind a pooler, which passes none on, by the login's own defaults.
    """
    return {
        "application_name": "tenancy",
        "search_path": "",
        "synchronous_commit": "on",
        "statement_timeout": milliseconds(settings.statement_timeout_seconds),
        "idle_in_transaction_session_timeout": milliseconds(
            settings.idle_in_transaction_timeout_seconds
        ),
    }


async def stands_between(conn: asyncpg.Connection) -> bool:
    """Whether something between *conn* and the server lends it back ends.

    Who connects is told the number of its back end ("BackendKeyData"); a pooler makes one up.
    """
    told: int = conn.get_server_pid()
    async with conn.transaction():  # or a pooler may prepare here and execute there
        return bool(await conn.fetchval("SELECT pg_catalog.pg_backend_pid()") != told)


async def missing_defaults(conn: asyncpg.Connection, settings: Settings) -> dict[str, str]:
    """Return those of `session` that a session behind a pooler does not have of itself."""
    wanted = session(settings)
    rows = await conn.fetch(
        "SELECT name, reset_val FROM pg_catalog.pg_settings WHERE name = ANY ($1)", list(wanted)
    )
    found = {row["name"]: row["reset_val"] or "" for row in rows}
    del wanted["application_name"]  # the pooler passes it on
    return {
        name: value
        for name, value in wanted.items()
        if not (name == "search_path" and found[name] == '""') and found[name] != value
    }


def default_sql(login: str, database: str, name: str, value: str) -> str:
    """Return the statement that makes *value* the default of *login* in *database*."""
    who, where = quoted_login(login), quoted_login(database)
    return f"ALTER ROLE {who} IN DATABASE {where} SET {name} = {literal(value)};"


async def keeps_state(first: asyncpg.Connection, second: asyncpg.Connection) -> bool | None:
    """Whether what *first* sets in a session is found by *second*, through the same pooler.

    Returns:
        None where the two never met in one back end, so that nobody can tell.
    """
    mark = secrets.token_hex(8)
    for _ in range(_TRIES):
        async with first.transaction():
            pid = await first.fetchval("SELECT pg_catalog.pg_backend_pid()")
            await first.execute(f"SET tenancy.probe = {literal(mark)}")
        row = await second.fetchrow(
            "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('tenancy.probe', true)"
        )
        if row[0] == pid:
            return bool(row[1] == mark)
    return None


async def check(conn: asyncpg.Connection, settings: Settings) -> None:
    """Refuse a pooler that nobody has told us of, and one behind which a promise is not kept.

    Raises:
        DatabaseSetupError: names the fault, and who knows the cure.
    """
    pooled = await stands_between(conn)
    if settings.pooler is Pooler.NONE:
        if pooled:
            raise DatabaseSetupError(
                "TENANCY_DATABASE_URL leads to a connection pooler: set TENANCY_POOLER=transaction"
            )
        return
    if not pooled:
        _log.warning("TENANCY_POOLER=transaction, but no pooler is there: no statement is cached")
    missing = await missing_defaults(conn, settings)
    words = f"behind a pooler the login needs defaults of its own for {', '.join(missing)}: {_CURE}"
    if not PROMISED.isdisjoint(missing):
        raise DatabaseSetupError(words)
    if missing:
        _log.warning(words)
    if pooled and await _forgetless(conn, settings):
        raise DatabaseSetupError(
            "the pooler lends a session on with what the last client left in it "
            f"(server_reset_query_always): {_CURE}"
        )


async def _forgetless(conn: asyncpg.Connection, settings: Settings) -> bool:
    other = await asyncpg.connect(
        settings.dsn, timeout=settings.pool_acquire_timeout_seconds, statement_cache_size=0
    )
    try:
        return bool(await keeps_state(conn, other))
    finally:
        await other.close()
