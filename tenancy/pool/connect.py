"""How connections are opened: those of the pool, and single ones for work on the catalog."""

import asyncio
from contextvars import Context
from typing import Any

import asyncpg

from tenancy.faults import connecting
from tenancy.pool.connection import Connection
from tenancy.pool.pooler import session
from tenancy.pool.shapes import Shapes
from tenancy.settings import Pooler, Settings, StatementCache, variable

TIMEOUT_SECONDS = 10.0
CACHED_STATEMENTS = 100

# Where the server's platform can tell: it ends the work of a client that has gone, locks and all.
_WATCHFUL = {"client_connection_check_interval": "1s"}


def options(settings: Settings) -> dict[str, Any]:
    """Return how requests connect: what each session starts with, and how much it caches."""
    first = session(settings)
    size = settings.statement_cache_size
    if statement_cache(settings) is StatementCache.OFF:
        size = 0
    if settings.pooler is not Pooler.NONE:  # PgBouncer refuses the other settings
        first = {"application_name": first["application_name"]}
    return {"server_settings": first, "statement_cache_size": size}


def statement_cache(settings: Settings) -> StatementCache:
    """Return who shares a statement; none is kept behind PgBouncer, which before 1.21 loses it."""
    return settings.statement_cache if settings.pooler is Pooler.NONE else StatementCache.OFF


async def for_pool(
    shapes: Shapes,
    dsn: str,
    *,
    pooler: Pooler,
    **given: Any,  # noqa: ANN401
) -> asyncpg.Connection:
    """Return a new connection for the pool, opened in no context at all.

    asyncpg calls log listeners and decoders in the context a connection was opened in: they would
    serve the tenant whose request happened to open it.
    """
    # A pooler refuses settings that it does not know.
    dialled = asyncpg.connect(dsn, **given) if pooler is not Pooler.NONE else _watched(dsn, given)
    opening = asyncio.get_running_loop().create_task(dialled, context=Context())
    try:
        conn = await opening
    except asyncio.CancelledError:
        if opening.done() and not opening.cancelled() and not opening.exception():
            opening.result().terminate()  # cancelled in the moment it was there
        raise
    conn.join(shapes)
    return conn


async def _watched(dsn: str, given: dict[str, Any]) -> asyncpg.Connection:
    first = given.pop("server_settings")
    try:
        return await asyncpg.connect(dsn, **given, server_settings={**first, **_WATCHFUL})
    except (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError):
        return await asyncpg.connect(dsn, **given, server_settings=first)


async def connect(settings: Settings, *, as_admin: bool) -> asyncpg.Connection:
    """Return one connection outside of any pool, with an empty path, for work on the catalog.

    Raises:
        SettingsError, DatabaseUnavailableError, DatabaseSetupError: as `faults.connecting`.
    """
    dsn = settings.admin_dsn if as_admin else settings.dsn
    name = "admin_database_url" if as_admin and settings.admin_database_url else "database_url"
    first = {"application_name": "tenancy admin"}
    if as_admin or settings.pooler is Pooler.NONE:
        first["search_path"] = ""
    with connecting(variable(name)):
        return await asyncpg.connect(
            dsn,
            timeout=TIMEOUT_SECONDS,
            connection_class=Connection,
            server_settings=first,
            # A pooler may be there that we were not told of.
            statement_cache_size=CACHED_STATEMENTS if as_admin else 0,
        )
