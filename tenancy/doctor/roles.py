"""Tenants' roles: each may read and write rows of its own schema, and no more."""

from tenancy.doctor.catalogs import command
from tenancy.doctor.finding import By, Check, fault_with_roles, warning

_GRANT = command("python -m tenancy tenants grant")

CHECKS = (
    Check(
        "role_missing",
        "requests cannot become the role of a tenant",
        f"""
        SELECT slug, {_GRANT} FROM given, tenant
        WHERE schema IS NOT NULL AND (role IS NULL OR NOT EXISTS (
            SELECT FROM member WHERE roleid = role AND member.member = login AND sets))
        """,
        fault_with_roles,
        By.SHELL,
    ),
    Check(
        "role_attributes",
        "a tenant's role may do more than read and write rows",
        """
        SELECT format('%s: %s', slug, lower(a.attribute)),
               format('ALTER ROLE %I NO%s;', name, a.attribute)
        FROM tenant JOIN pg_roles r ON r.oid = role, LATERAL (VALUES
            ('LOGIN', rolcanlogin), ('SUPERUSER', rolsuper), ('BYPASSRLS', rolbypassrls),
            ('REPLICATION', rolreplication), ('CREATEROLE', rolcreaterole),
            ('CREATEDB', rolcreatedb)
        ) AS a (attribute, has) WHERE a.has
        """,
        by=By.SUPERUSER,
    ),
    Check(
        "role_memberships",
        "a tenant's role may become another role",
        """
        SELECT format('%s: %I', slug, role_name),
               format('REVOKE %I FROM %I%s;', role_name, member_name, granted_by)
        FROM tenant JOIN member ON member.member = role
        """,
        by=By.SUPERUSER,
    ),
    Check(
        "role_members",
        "others than the login of requests may become a tenant's role",
        """
        SELECT format('%s: %I', slug, member_name),
               format('REVOKE %I FROM %I%s;', role_name, member_name, granted_by)
        FROM given, tenant JOIN member ON roleid = role
        WHERE member.member NOT IN (login, admin) AND (sets OR inherits)
        """,
        by=By.SUPERUSER,
        advice="after a change of login: the old one is no longer needed",
    ),
    Check(
        "role_owns",
        "a tenant's role, or the login of requests, owns things in a tenant's schema",
        """
        SELECT format('%s: %s, of %I', slug, object, pg_get_userbyid(owner)),
               format('ALTER %s OWNER TO %I;', target, admin_name)
        FROM given, (
            SELECT slug, 'schema' AS object, format('SCHEMA %I', name) AS target, nspowner AS owner
            FROM tenant
            UNION ALL
            SELECT slug, format('%s %I', lower(kind), relname),
                   format('%s %I.%I', kind, schema_name, relname), relowner
            FROM relation WHERE NOT EXISTS (  -- a column's own sequence goes with its table
                SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = relation.oid
                AND relkind = 'S' AND deptype IN ('a', 'i'))
            UNION ALL
            SELECT slug, format('function %I', proname), 'ROUTINE ' || p.oid::regprocedure, proowner
            FROM tenant JOIN pg_proc p ON pronamespace = schema
        ) AS owned
        WHERE owner IN (SELECT role FROM tenant) OR owner = login AND login <> admin
        """,
        fault_with_roles,
        By.SUPERUSER,
    ),
    Check(
        "role_rights",
        "a tenant's role may do more in its schema than read and write rows",
        """
        SELECT format('%s: %s (%s)', slug, object, string_agg(privilege, ', ')),
               string_agg(cure, E'\\n')
        FROM rights
        WHERE grantee = role AND owner <> role AND NOT CASE kind
              WHEN 'SCHEMA' THEN privilege = 'USAGE'
              WHEN 'SEQUENCE' THEN privilege IN ('USAGE', 'SELECT', 'UPDATE')
              WHEN 'TABLE' THEN privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
              ELSE true END
        GROUP BY slug, object
        """,
        advice="with TRIGGER or CREATE it can plant code that the migrator, who owns the tables, "
        "would run",
    ),
    Check(
        "role_elsewhere",
        "a tenant's role has rights in another tenant's schema",
        """
        SELECT format('%s in %s: %s (%s)', other.slug, rights.slug, object,
                      string_agg(privilege, ', ')),
               string_agg(cure, E'\\n')
        FROM rights JOIN tenant AS other ON other.role = grantee
        WHERE grantee IS DISTINCT FROM rights.role AND grantee NOT IN (0, owner)
        GROUP BY other.slug, rights.slug, object
        """,
    ),
    Check(
        "schema_closed",
        "requests may not use their tenant's schema",
        f"""
        SELECT slug, {_GRANT} FROM given, tenant
        WHERE schema IS NOT NULL AND state NOT IN ('suspended', 'deleting')
          AND NOT has_schema_privilege(
            CASE WHEN sets_role THEN role ELSE login END, schema, 'USAGE')
        """,
        by=By.SHELL,
    ),
    Check(
        "rights_missing",
        "requests lack rights in their tenant's schema",
        f"""
        SELECT format('%s: %s (%s)', slug, object, string_agg(privilege, ', ')), {_GRANT}
        FROM (
            SELECT slug, format('table %I', relname) AS object, p AS privilege
            FROM given, relation, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
            WHERE relkind IN ('r', 'p')
              AND NOT has_table_privilege(CASE WHEN sets_role THEN role ELSE login END, oid, p)
            UNION ALL
            SELECT slug, format('sequence %I', relname), p
            FROM given, relation, unnest(ARRAY['USAGE']) AS p
            WHERE relkind = 'S'
              AND NOT has_sequence_privilege(CASE WHEN sets_role THEN role ELSE login END, oid, p)
        ) AS missing
        GROUP BY slug, object
        """,
        warning,
        By.SHELL,
        "unless a file of yours revoked it",
    ),
)
