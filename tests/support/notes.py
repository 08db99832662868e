"""The demo's notes, and a look at what a pooled connection remembers."""

from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from support.poolers import POOL_SIZE
from tenancy import Settings, Tenancy
from tenancy.settings import Pooler

PRISTINE = {
    "search_path": "",
    "role": "none",
    "session_user_is_login": True,
    "scope": "",
    "temporary": 0,
    "locks": 0,
    "cursors": 0,
    "channels": 0,
    "prepared_in_sql": 0,
    "in_transaction": False,
    "statement_timeout": "30s",
    "work_mem": "4MB",
    "standard_conforming_strings": "on",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "lastval": "undefined",
}

_MEMORY = """
    SELECT btrim(current_setting('search_path'), '"') AS search_path,
           current_setting('role') AS role,
           session_user = current_user AS session_user_is_login,
           coalesce(current_setting('tenancy.scope', true), '') AS scope,
           (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()) AS temporary,
           (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')
               AS locks,
           (SELECT count(*) FROM pg_cursors WHERE is_holdable) AS cursors,
           (SELECT count(*) FROM pg_listening_channels()) AS channels,
           (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) AS prepared_in_sql,
           current_setting('statement_timeout') AS statement_timeout,
           current_setting('work_mem') AS work_mem,
           current_setting('standard_conforming_strings') AS standard_conforming_strings,
           current_setting('default_transaction_read_only') AS default_transaction_read_only,
           current_setting('default_transaction_isolation') AS default_transaction_isolation
"""


async def memory(tenancy: Tenancy) -> dict[str, Any]:
    """What the one pooled connection remembers while it serves nobody.

    Behind a pooler: what a server connection of it remembers, one that does if there is one.
    """
    async with tenancy.pool.connection() as conn:
        if tenancy.settings.pooler is Pooler.TRANSACTION:
            found = await _memory_of_all(tenancy.settings)
            remembered = next(
                (one for one in found if not one.items() <= PRISTINE.items()), found[0]
            )
        else:
            remembered = await _remembered(conn)
        return {**remembered, "in_transaction": conn.is_in_transaction()}


async def _memory_of_all(settings: Settings) -> list[dict[str, Any]]:
    found = []
    async with AsyncExitStack() as stack:
        for _ in range(POOL_SIZE):
            conn = await asyncpg.connect(settings.dsn, statement_cache_size=0)
            stack.push_async_callback(conn.close)
            await conn.execute("BEGIN")  # keeps its server connection from the next one
            named = await conn.fetchval("SELECT count(*) FROM pg_prepared_statements")
            found.append({**await _remembered(conn), "prepared_in_sql": named})
    return found


async def _remembered(conn: Any) -> dict[str, Any]:
    remembered = dict(await conn.fetchrow(_MEMORY))
    try:
        remembered["lastval"] = await conn.fetchval("SELECT lastval()")
    except Exception:
        remembered["lastval"] = "undefined"
    return remembered


async def write(tenancy: Tenancy, slug: str, body: str) -> int:
    async with tenancy.transaction(slug) as conn:
        return int(await conn.fetchval("INSERT INTO notes (body) VALUES ($1) RETURNING id", body))


async def read(tenancy: Tenancy, slug: str) -> list[str]:
    async with tenancy.transaction(slug, readonly=True) as conn:
        return [row["body"] for row in await conn.fetch("SELECT body FROM notes ORDER BY id")]


async def schema_of(conn: Any, slug: str) -> str:
    """The schema of the tenant *slug*, as the owner or a superuser sees it."""
    return str(await conn.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = $1", slug))
