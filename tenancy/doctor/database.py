"""What everybody may do in the database, and where a name is looked for."""

from tenancy.doctor.catalogs import WHO, kind
from tenancy.doctor.finding import By, Check, fault_if_strict, warning
from tenancy.identifiers import CATALOG_SCHEMA


def _on_database(privilege: str) -> str:
    return f"""
    SELECT {WHO}, format('REVOKE {privilege} ON DATABASE %I FROM %s;', database_name, {WHO})
    FROM given JOIN pg_database d ON d.oid = database,
         aclexplode(coalesce(datacl, acldefault('d', datdba)))
    WHERE privilege_type = '{privilege}' AND grantee NOT IN (datdba, admin)
      AND (grantee IN (0, login) OR grantee IN (SELECT role FROM tenant))
    """


# Requests and everybody else: but not the owner, and not whoever was meant to have rights.
_TENANTS = "(grantee = 0 OR grantee IN (SELECT role FROM tenant) OR grantee = login)"


def _exposed(schema: str, schema_rights: str, relation_rights: str) -> str:
    return f"""
    SELECT format('%s (%s for %s)', object, string_agg(privilege, ', '), who),
           string_agg(cure, E'\\n')
    FROM (
        SELECT format('schema %I', nspname) AS object, privilege_type AS privilege, {WHO} AS who,
               format('REVOKE %s ON SCHEMA %I FROM %s;', privilege_type, nspname, {WHO}) AS cure
        FROM given, pg_namespace n, aclexplode(nspacl)
        WHERE nspname = {schema} AND {_TENANTS} AND grantee <> nspowner AND login <> admin
          AND NOT ({schema_rights})
        UNION ALL
        SELECT format('%s %I.%I', lower({kind("relkind")}), nspname, relname), privilege_type,
               {WHO},
               format('REVOKE %s ON %s %I.%I FROM %s;', privilege_type, {kind("relkind")}, nspname,
                      relname, {WHO})
        FROM given, pg_namespace n JOIN pg_class c ON relnamespace = n.oid, aclexplode(relacl)
        WHERE nspname = {schema} AND {_TENANTS} AND grantee <> relowner AND login <> admin
          AND NOT ({relation_rights})
    ) AS exposed
    GROUP BY object, who
    """


CHECKS = (
    Check(
        "database_create",
        "others than the owner may make schemas in the database",
        _on_database("CREATE"),
    ),
    Check(
        "database_temporary",
        "temporary tables can be made in the database, which a view may mistake for others",
        _on_database("TEMPORARY"),
        fault_if_strict,
    ),
    Check(
        "public_schema",
        "everybody may make tables in the schema public",
        """
        SELECT 'public', 'REVOKE CREATE ON SCHEMA public FROM PUBLIC;'
        FROM pg_namespace, aclexplode(nspacl)
        WHERE nspname = 'public' AND grantee = 0 AND privilege_type = 'CREATE'
        """,
        fault_if_strict,
        By.SUPERUSER,
    ),
    Check(
        "public_rights",
        "everybody has rights in a tenant's schema",
        """
        SELECT format('%s: %s (%s)', slug, object, string_agg(privilege, ', ')),
               string_agg(cure, E'\\n')
        FROM rights WHERE grantee = 0 GROUP BY slug, object
        """,
    ),
    Check(
        "shared_writable",
        "tenants can write what every tenant reads",
        _exposed(
            "shared_name", "privilege_type = 'USAGE'", "privilege_type IN ('SELECT', 'USAGE')"
        ),
    ),
    Check(
        "registry_exposed",
        "tenants can see the registry, or requests write it",
        _exposed(
            f"'{CATALOG_SCHEMA}'",
            "grantee = login AND privilege_type = 'USAGE'",
            "grantee = login AND privilege_type = 'SELECT'",
        ),
    ),
    Check(
        "public_path",
        "somebody's search_path leads to the schema public",
        """
        SELECT CASE WHEN setrole = 0 THEN 'everybody' ELSE pg_get_userbyid(setrole) END
               || CASE WHEN setdatabase = 0 THEN '' ELSE ' in this database' END,
               CASE WHEN setrole = 0 AND setdatabase <> 0
                    THEN format('ALTER DATABASE %I RESET search_path;', database_name)
                    ELSE format('ALTER ROLE %s%s RESET search_path;',
                         CASE WHEN setrole = 0 THEN 'ALL'
                              ELSE quote_ident(pg_get_userbyid(setrole)) END,
                         CASE WHEN setdatabase = 0 THEN ''
                              ELSE format(' IN DATABASE %I', database_name) END) END
        FROM given, pg_db_role_setting, unnest(setconfig) AS entry
        WHERE entry ~ '^search_path=(.*,)? *"?public"? *(,.*)?$' AND setdatabase IN (0, database)
          AND (setrole IN (0, login, admin) OR setrole IN (SELECT role FROM tenant))
        """,
        warning,
        By.SUPERUSER,
        "requests set a path of their own; what runs beside them does not",
    ),
    Check(
        "same_name",
        "a tenant's table hides a shared one of the same name",
        """
        SELECT format('%I, of %s tenants', c.relname, count(*)),
               format('ALTER TABLE %I.%I RENAME TO %I;', shared_name, c.relname,
                      shared_name || '_' || c.relname)
        FROM given JOIN pg_class c ON c.relnamespace = shared
        JOIN relation r ON r.relname = c.relname
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
        GROUP BY c.relname, shared_name
        """,
        warning,
        advice="in a file of sql/shared/, with the queries that mean the shared one",
    ),
)
