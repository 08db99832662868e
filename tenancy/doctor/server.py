"""The server: whether it keeps what it has acknowledged, and holds what it is asked to."""

from tenancy.doctor.finding import By, Check, Level, warning
from tenancy.preflight import OLDEST_SERVER
from tenancy.settings import Settings

_PARALLEL = 8  # transactions that each lock all of a tenant's relations: migrate --parallel

# Where a value comes from is where it is changed.
_SET = """
    CASE s.source
        WHEN 'database user'
            THEN format('ALTER ROLE %I IN DATABASE %I RESET %I;', admin_name, database_name, s.name)
        WHEN 'user' THEN format('ALTER ROLE %I RESET %I;', admin_name, s.name)
        WHEN 'database' THEN format('ALTER DATABASE %I RESET %I;', database_name, s.name)
        ELSE format(E'ALTER SYSTEM SET %I = %L;\\nSELECT pg_reload_conf();', s.name, w.better)
    END
"""


def _setting(values: str, where: str) -> str:
    return f"""
    SELECT format('%s is %s', s.name, coalesce(nullif(s.reset_val, ''), 'empty')), {_SET}
    FROM given, pg_settings s JOIN (VALUES {values}) AS w (name, better) ON w.name = s.name
    WHERE {where}
    """


def _durability(settings: Settings) -> Level | None:
    return Level.FAULT if settings.require_durability else Level.WARNING


CHECKS = (
    Check(
        "server_version",
        f"the server is older than PostgreSQL {OLDEST_SERVER}",
        f"SELECT 'PostgreSQL ' || server, NULL FROM given WHERE server < {OLDEST_SERVER}",
        advice="upgrade it",
    ),
    Check(
        "durability",
        "a crash of the server loses what was acknowledged",
        _setting("('fsync', 'on'), ('full_page_writes', 'on')", "s.reset_val = 'off'"),
        _durability,
        By.SUPERUSER,
    ),
    Check(
        "synchronous_commit",
        "a crash loses what was acknowledged to operators; requests set it on for themselves",
        _setting("('synchronous_commit', 'on')", "s.reset_val = 'off'"),
        warning,
        By.SUPERUSER,
    ),
    Check(
        "dead_clients",
        "the server goes on for hours for a client whose network is gone",
        _setting(
            "('tcp_user_timeout', '30s'), ('tcp_keepalives_idle', '60')",
            "s.reset_val = '0' AND current_setting('listen_addresses') <> ''",
        ),
        warning,
        By.SUPERUSER,
    ),
    Check(
        "max_connections",
        "there is no room for the pools of two processes",
        """
        SELECT format('max_connections is %s, and a pool takes %s', m.room, pool_size),
               format('ALTER SYSTEM SET max_connections = %s;', 2 * pool_size + m.kept)
        FROM given, LATERAL (
            SELECT current_setting('max_connections')::int AS room,
                   current_setting('superuser_reserved_connections')::int + 10 AS kept) AS m
        WHERE NOT pooled AND 2 * pool_size + m.kept > m.room
        UNION ALL
        SELECT format('the login is limited to %s connections', rolconnlimit),
               format('ALTER ROLE %I CONNECTION LIMIT -1;', login_name)
        FROM given JOIN pg_roles r ON r.oid = login
        WHERE rolconnlimit BETWEEN 0 AND 2 * pool_size - 1 AND NOT pooled
        UNION ALL
        SELECT format('the database is limited to %s connections', datconnlimit),
               format('ALTER DATABASE %I CONNECTION LIMIT -1;', database_name)
        FROM given JOIN pg_database d ON d.oid = database
        WHERE datconnlimit BETWEEN 0 AND 2 * pool_size - 1 AND NOT pooled
        """,
        warning,
        By.SUPERUSER,
        "max_connections needs a restart of the server; TENANCY_POOL_MAX_SIZE can be lower instead",
    ),
    Check(
        "max_locks",
        f"{_PARALLEL} migrations of the biggest tenant at once would fill the lock table",
        f"""
        SELECT format('%s: %s tables, indexes and sequences', t.slug, t.size),
               format('ALTER SYSTEM SET max_locks_per_transaction = %s;',
                      1 + {_PARALLEL} * t.size / m.sessions)
        FROM (SELECT t.slug, count(*) + 2 * count(nullif(c.reltoastrelid, 0)) AS size
              FROM tenant t JOIN pg_class c ON c.relnamespace = t.schema
              GROUP BY t.slug ORDER BY size DESC LIMIT 1) AS t,
             LATERAL (SELECT current_setting('max_connections')::int
                             + current_setting('max_prepared_transactions')::int AS sessions,
                             current_setting('max_locks_per_transaction')::int AS each) AS m
        WHERE {_PARALLEL} * t.size > m.each * m.sessions
        """,
        warning,
        By.SUPERUSER,
        "needs a restart of the server",
    ),
)
