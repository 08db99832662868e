"""Things in the database that tie tenants to each other, or run with another one's rights."""

from tenancy import walls
from tenancy.doctor.catalogs import WHO
from tenancy.doctor.finding import By, Check, fault_if_strict, warning, warning_below_strict
from tenancy.identifiers import REPORTS_SCHEMA, literal

_EXTENSIONS = ", ".join(f"({literal(x)}, {literal(f)})" for x, f in walls.EXTENSIONS)
_ACL = "coalesce(proacl, acldefault('f', proowner))"

CHECKS = (
    Check(
        "outside_view",
        "a view outside of a tenant's schema reads that tenant's tables for everybody",
        f"""
        SELECT DISTINCT format('%I.%I, of %s', n.nspname, v.relname, r.slug),
               format('DROP %s %I.%I;', CASE v.relkind WHEN 'm' THEN 'MATERIALIZED VIEW'
                      ELSE 'VIEW' END, n.nspname, v.relname)
        FROM (
            SELECT v.*, d.refobjid AS reads
            FROM pg_class v JOIN pg_rewrite w ON w.ev_class = v.oid
            JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
            WHERE v.relkind IN ('v', 'm') AND d.refclassid = 'pg_class'::regclass
            OFFSET 0  -- the views are few: they come first
        ) AS v JOIN relation r ON r.oid = v.reads
        JOIN pg_namespace n ON n.oid = v.relnamespace
        WHERE n.oid <> r.schema AND n.nspname <> '{REPORTS_SCHEMA}'
        """,
        advice="move it into a file of sql/tenant/, or drop it",
    ),
    Check(
        "open_report",
        "whoever a request can be may read a report over all tenants",
        f"""
        SELECT format('%I for %s', v.relname, {WHO}),
               format('REVOKE ALL ON %I.%I FROM %s;', n.nspname, v.relname, {WHO})
        FROM given, pg_namespace n JOIN pg_class v ON v.relnamespace = n.oid,
             aclexplode(v.relacl)
        WHERE n.nspname = '{REPORTS_SCHEMA}' AND grantee NOT IN (v.relowner, admin)
          AND (grantee = 0 OR grantee = login
               OR EXISTS (SELECT FROM pg_roles l WHERE l.oid = login AND NOT l.rolsuper
                          AND pg_has_role(l.oid, grantee, 'MEMBER'))
               OR EXISTS (SELECT FROM tenant t WHERE t.role IS NOT NULL
                          AND pg_has_role(t.role, grantee, 'MEMBER')))
        """,
        advice="python -m tenancy reports drop and create, with another --reader",
    ),
    Check(
        "outside_function",
        "a function outside of a tenant's schema is bound to that tenant's tables for everybody",
        """
        SELECT DISTINCT format('%s, of %s', p.oid::regprocedure, t.slug),
               format('DROP ROUTINE %s;', p.oid::regprocedure)
        FROM (
            SELECT slug, schema, 'pg_class'::regclass AS class, oid FROM relation
            UNION ALL
            SELECT slug, schema, 'pg_type'::regclass, y.oid
            FROM tenant JOIN pg_type y ON y.typnamespace = schema
        ) AS t
        JOIN pg_depend d ON d.refclassid = t.class AND d.refobjid = t.oid
        JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
        WHERE p.pronamespace <> t.schema
        """,
        advice="move it into a file of sql/tenant/, or drop it",
    ),
    Check(
        "outside_reference",
        "a foreign key leads from another schema into a tenant's",
        """
        SELECT format('%I.%I into %s', n.nspname, c.conname, t.slug),
               format('ALTER TABLE %s DROP CONSTRAINT %I;', c.conrelid::regclass, c.conname)
        FROM pg_constraint c JOIN relation t ON t.oid = c.confrelid
        JOIN pg_namespace n ON n.oid = c.connamespace
        WHERE c.contype = 'f' AND n.oid <> t.schema
        """,
    ),
    Check(
        "foreign_sequence",
        "a column takes its numbers from a sequence of another schema",
        """
        SELECT format('%s.%I', a.adrelid::regclass, b.attname),
               format(E'CREATE SEQUENCE %1$I.%2$I OWNED BY %1$I.%3$I.%4$I;\\n'
                      'SELECT setval(%5$L, coalesce(max(%4$I), 0) + 1, false) FROM %1$I.%3$I;\\n'
                      'ALTER TABLE %1$I.%3$I ALTER COLUMN %4$I SET DEFAULT nextval(%5$L);',
                      n.nspname, own.name, c.relname, b.attname,
                      format('%I.%I', n.nspname, own.name))
        FROM given, pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid
        JOIN pg_attribute b ON b.attrelid = c.oid AND b.attnum = a.adnum
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
        JOIN pg_class s ON d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid,
             LATERAL (SELECT left(c.relname || '_' || b.attname, 55) || '_own_seq') AS own (name)
        WHERE s.relkind = 'S' AND s.relnamespace <> c.relnamespace
          AND (c.relnamespace IN (SELECT schema FROM tenant)
               OR s.relnamespace IN (SELECT schema FROM tenant))
        """,
        advice="CREATE TABLE ... (LIKE ... INCLUDING ALL) does so",
    ),
    Check(
        "shared_rowtype",
        "a shared function declares the row type of a table: of the first tenant that calls it",
        """
        SELECT p.oid::regprocedure::text, format('DROP ROUTINE %s;', p.oid::regprocedure)
        FROM given JOIN pg_proc p ON p.pronamespace = shared
        WHERE p.prosrc ~* '%\\s*(row)?type\\M'
        """,
        warning,
        advice="declare a record, or the columns' types, in a file of sql/shared/",
    ),
    Check(
        "own_types",
        "a type in each tenant's schema does not fit a statement cached for another's",
        """
        SELECT format('%I, of %s tenants', y.typname, count(*)),
               string_agg(format('DROP %s %I.%I;', CASE y.typtype WHEN 'd' THEN 'DOMAIN'
                                 ELSE 'TYPE' END, t.name, y.typname), E'\\n' ORDER BY t.slug)
        FROM tenant t JOIN pg_type y ON y.typnamespace = t.schema
        LEFT JOIN pg_class c ON c.oid = y.typrelid
        WHERE y.typtype IN ('e', 'd', 'r') OR c.relkind = 'c'
        GROUP BY y.typname
        """,
        warning,
        advice="make it in sql/shared/ and give the columns that one first",
    ),
    Check(
        "security_definer",
        "tenants may call a function that runs with its owner's rights",
        f"""
        SELECT format('%s for %s', p.oid::regprocedure, {WHO}),
               format('REVOKE EXECUTE ON ROUTINE %s FROM %s;', p.oid::regprocedure, {WHO})
        FROM given, pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, aclexplode({_ACL})
        WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
          AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
          AND (grantee = 0 OR grantee IN (SELECT role FROM tenant) OR grantee = login)
          AND grantee NOT IN (proowner, admin)
        """,
        fault_if_strict,
        advice="unless it is meant to, has a search_path of its own, and trusts no argument",
    ),
    Check(
        "extension_functions",
        "everybody may call functions of an extension that run any text they are given",
        f"""
        SELECT p.oid::regprocedure::text,
               format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC;', p.oid::regprocedure)
        FROM pg_extension x JOIN (VALUES {_EXTENSIONS}) AS w (extension, beginning)
          ON w.extension = x.extname
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid
        JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid,
             aclexplode({_ACL})
        WHERE d.deptype = 'e' AND grantee = 0
          AND starts_with(p.proname || '(' || oidvectortypes(p.proargtypes) || ')', w.beginning)
        """,
        warning_below_strict,
        By.SUPERUSER,
    ),
    Check(
        "invalid_index",
        "an index is not used: its making was broken off",
        """
        SELECT format('%s: %I', coalesce(t.slug, shared_name), i.relname),
               format('REINDEX INDEX CONCURRENTLY %I.%I;', n.nspname, i.relname)
        FROM given, pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        JOIN pg_namespace n ON n.oid = i.relnamespace LEFT JOIN tenant t ON t.schema = n.oid
        WHERE NOT (x.indisvalid AND x.indisready) AND (t.schema IS NOT NULL OR n.oid = shared)
        """,
        warning,
        advice="unless one is being made just now",
    ),
)
