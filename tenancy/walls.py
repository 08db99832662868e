"""What level ``strict`` takes from PUBLIC in the database, so that a query alone cannot get out.

A query needs no other statement to change the session, run a text, make an object or reach another
session: there are functions for it, and PostgreSQL lets everybody call them. The lists were made
from ``pg_proc`` of PostgreSQL 15, 16 and 18; tests/isolation/test_database_walls.py holds what is
left to PUBLIC, and fails on a server that has more.

Left, because a request's end calls them as the tenant: ``pg_advisory_unlock_all``, and ``setseed``,
whose seed it replaces.
"""

import asyncpg

from tenancy.identifiers import literal, quoted_login
from tenancy.settings import Isolation, Settings

COMMAND = "python -m tenancy walls | psql -X -v ON_ERROR_STOP=1 -d <database>"

# Of pg_catalog: how ``name(types)`` begins.
FUNCTIONS = (
    # change the session, path and role with it
    "set_config(",
    # run a text
    "query_to_xml",
    "cursor_to_xml",
    "table_to_xml",
    "schema_to_xml",
    "database_to_xml",
    "ts_stat(",
    "ts_rewrite(tsquery, text)",
    # show the texts of the requests before, into which a careless view has put values
    "pg_prepared_statement(",
    # make objects that stay: large ones
    "lo_",
    "loread(",
    "lowrite(",
    # reach other sessions
    "pg_notify(",
    "pg_terminate_backend(",
    "pg_cancel_backend(",
    "pg_advisory_lock",
    "pg_advisory_xact_lock",
    "pg_try_advisory_",
    "pg_logical_emit_message(",
    "pg_export_snapshot(",
    # hold a connection for nothing
    "pg_sleep",
)

# Of extensions, wherever those were put: they run a text, some of them as another login.
EXTENSIONS = (
    ("dblink", ""),
    ("pg_background", ""),
    ("pg_cron", ""),
    ("tablefunc", "crosstab"),
    ("tablefunc", "connectby("),
    ("xml2", "xpath_table("),
)


def _public(acl: str) -> str:
    return f"EXISTS (SELECT FROM aclexplode({acl}) WHERE grantee = 0)"


# Each thing a wall stands around: how GRANT and REVOKE name it, whether PUBLIC still has it, and
# whether it had it from the start: then the owner is given what it loses by the wall.
# The last kind is UPDATE of the view pg_settings, which a rule turns into set_config.
_WALLS = f"""
    SELECT 'ROUTINE' AS kind, p.oid::regprocedure::text AS name, 'EXECUTE' AS privilege,
           {_public("coalesce(p.proacl, acldefault('f', p.proowner))")} AS is_open,
           {_public("coalesce(i.initprivs, acldefault('f', p.proowner))")} AS was_open
      FROM pg_catalog.pg_proc p
      LEFT JOIN pg_catalog.pg_init_privs i
        ON i.objoid = p.oid AND i.classoid = 'pg_catalog.pg_proc'::regclass AND i.objsubid = 0,
           LATERAL (SELECT p.proname || '(' || oidvectortypes(p.proargtypes) || ')') s (signature)
     WHERE p.pronamespace = 'pg_catalog'::regnamespace AND EXISTS (
           SELECT FROM (VALUES {", ".join(f"('{f}')" for f in FUNCTIONS)}) AS w (beginning)
            WHERE starts_with(s.signature, w.beginning))
        OR EXISTS (
           SELECT FROM pg_catalog.pg_depend d
             JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
             JOIN (VALUES {", ".join(f"('{e}', '{f}')" for e, f in EXTENSIONS)})
                  AS w (extension, beginning) ON w.extension = x.extname
            WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
              AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
              AND starts_with(s.signature, w.beginning))
    UNION ALL
    SELECT 'LANGUAGE', quote_ident(lanname), 'USAGE',
           {_public("coalesce(lanacl, acldefault('l', lanowner))")}, true
      FROM pg_catalog.pg_language WHERE lanpltrusted
    UNION ALL
    SELECT 'DATABASE', quote_ident(datname), privilege_type, true, false
      FROM pg_catalog.pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
     WHERE datname = current_database() AND grantee = 0 AND privilege_type <> 'CONNECT'
    UNION ALL
    SELECT 'SCHEMA', quote_ident(nspname), privilege_type, true, false
      FROM pg_catalog.pg_namespace, aclexplode(nspacl)
     WHERE grantee = 0 AND privilege_type = 'CREATE'
    UNION ALL
    SELECT 'TABLE', c.oid::regclass::text, privilege_type, true, false
      FROM pg_catalog.pg_class c, aclexplode(relacl)
     WHERE relnamespace = 'pg_catalog'::regnamespace
       AND grantee = 0 AND privilege_type <> 'SELECT'
"""


async def missing(conn: asyncpg.Connection, settings: Settings) -> tuple[str, ...]:
    """Return what PUBLIC may still do in this database that the isolation level does not bear.

    One line each, such as ``EXECUTE ON ROUTINE set_config(text,text,boolean)``; none at a level
    below ``strict``. `COMMAND` takes them away.
    """
    if settings.isolation is not Isolation.STRICT:
        return ()
    rows = await conn.fetch(
        f"SELECT privilege || ' ON ' || kind || ' ' || name FROM ({_WALLS}) AS wall "
        "WHERE is_open ORDER BY kind, name, privilege"
    )
    return tuple(row[0] for row in rows)


def sql(database: str, *, owner: str, login: str) -> str:
    """Return what a superuser runs once in *database*; again after CREATE EXTENSION or an upgrade.

    It takes from PUBLIC all that `missing` names, or fails and changes nothing. *owner*, the login
    of migrations, is granted what PUBLIC lost; *login*, the one of requests, the one function that
    the reset of its connections calls.

    Raises:
        InvalidIdentifierError: a name holds a backslash.
    """
    return f"""\
-- The walls of level strict. To be run by a superuser; python -m tenancy walls prints it.
DO $walls$
DECLARE
    item record;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION 'only a superuser can raise the walls';
    END IF;
    IF current_database() <> {literal(database)} THEN
        RAISE EXCEPTION 'these walls are for another database' USING HINT = {literal(database)};
    END IF;
    SET LOCAL search_path = pg_catalog;  -- so that a name outside of it carries its schema
    FOR item IN {_WALLS.strip()}
    LOOP
        IF item.is_open THEN
            EXECUTE format('REVOKE %s ON %s %s FROM PUBLIC', item.privilege, item.kind, item.name);
        END IF;
        IF item.was_open THEN
            EXECUTE format('GRANT %s ON %s %s TO %s', item.privilege, item.kind, item.name,
                           {literal(quoted_login(owner))});
        END IF;
    END LOOP;
    GRANT EXECUTE ON FUNCTION pg_prepared_statement() TO {quoted_login(login)};
    FOR item IN SELECT * FROM ({_WALLS.strip()}) AS wall WHERE is_open
    LOOP
        RAISE EXCEPTION 'PUBLIC keeps % ON % %', item.privilege, item.kind, item.name
            USING HINT = 'Another role has granted it: revoke that.';
    END LOOP;
END
$walls$;
"""
