"""What a connection remembers between two requests, against what it should."""

import json
from collections.abc import Iterable, Mapping

import asyncpg

Picture = Mapping[str, str]

NOTHING = ""

# Settings show themselves by their source: set in this session, by whatever statement, and not
# again what a RESET gives. `transaction_*` are the current statement's own.
_LOOK = """
    SELECT pg_catalog.json_build_object(
        'role', pg_catalog.current_setting('role'),
        'session user', CASE WHEN session_user <> $2 THEN session_user::text ELSE '' END,
        'temporary tables', (SELECT coalesce(string_agg(relname, ', ' ORDER BY relname), '')
            FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema()
            AND relkind IN ('r', 'v', 'S')),
        'advisory locks', (SELECT coalesce(nullif(count(*), 0)::text, '')
            FROM pg_catalog.pg_locks WHERE locktype = 'advisory'
            AND pid = pg_catalog.pg_backend_pid()),
        'open cursors', (SELECT coalesce(nullif(count(*), 0)::text, '')
            FROM pg_catalog.pg_cursors WHERE is_holdable),
        'channels listened to', (SELECT coalesce(string_agg(c, ', '), '')
            FROM pg_catalog.pg_listening_channels() AS c),
        'PREPAREd names', (SELECT coalesce(string_agg(name, ', '), '')
            FROM pg_catalog.pg_prepared_statements WHERE from_sql),
        'settings', (SELECT coalesce(pg_catalog.json_object_agg(name, setting), '{}')
            FROM pg_catalog.pg_settings WHERE source = 'session'
            AND setting IS DISTINCT FROM reset_val AND name NOT LIKE 'transaction\\_%'),
        'own settings', (SELECT coalesce(pg_catalog.json_object_agg(name, value), '{}')
            FROM (SELECT name, pg_catalog.current_setting(name, true) AS value
                  FROM pg_catalog.unnest($1::text[]) AS name) AS named
            WHERE coalesce(value, '') <> ''))::text
"""


async def picture(
    conn: asyncpg.Connection, names: Iterable[str], login: str, timeout_seconds: float
) -> Picture:
    """Return what *conn*, which serves nobody, remembers; what is not in it is as it should be.

    Args:
        conn: the connection itself, not a pool's proxy.
        names: of settings that PostgreSQL does not list, as ``app.tenant``.
        login: whom it logged in as.
        timeout_seconds: how long to wait for the server.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError: it cannot be asked.
    """
    if conn.is_in_transaction():
        return {"transaction": "open"}
    seen = json.loads(await conn.fetchval(_LOOK, sorted(names), login, timeout=timeout_seconds))
    settings = {**seen.pop("settings"), **seen.pop("own settings")}
    if seen["role"] == "none":
        seen["role"] = NOTHING
    remembered = {item: value for item, value in seen.items() if value}
    return remembered | {f"setting {name}": value for name, value in settings.items()}


def differences(expected: Iterable[Picture], found: Picture) -> dict[str, tuple[str, str]]:
    """Return what differs from the nearest of the *expected* pictures, as (expected, found)."""
    candidates = [
        {
            item: (picture.get(item, NOTHING), found.get(item, NOTHING))
            for item in {*picture, *found}
            if picture.get(item, NOTHING) != found.get(item, NOTHING)
        }
        for picture in expected
    ]
    return min(candidates, key=len, default={})
