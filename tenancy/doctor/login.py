"""The login of requests: what it may do without being a tenant."""

from tenancy.doctor.finding import By, Check, Level, fault_with_roles, warning
from tenancy.settings import Settings

# Roles are the whole server's, and a login may serve several databases: a role that is named like
# a tenant's, and has nothing in this one, is a tenant's of another.
_ELSEWHERE = """
    role_name ~ '^t_[a-z0-9_]+_[0-9a-f]{6,12}$'
    AND NOT EXISTS (SELECT FROM pg_shdepend WHERE dbid = database AND refobjid = roleid)
"""
MANY_ROLES = 5_000
BLOOM_FILTER_SINCE = 16  # a login's roles are no longer listed in quadratic time


def _unless_schema(settings: Settings) -> Level | None:
    return Level.FAULT if settings.isolation.sets_role else Level.WARNING


CHECKS = (
    Check(
        "login_is_owner",
        "requests run as the owner of the schemas",
        """
        SELECT login_name,
               CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = database_name || '_app')
                    THEN '' ELSE format(E'CREATE ROLE %I LOGIN NOINHERIT PASSWORD ''...'';\\n',
                                        database_name || '_app') END
               || format('GRANT CONNECT ON DATABASE %I TO %I;',
                         database_name, database_name || '_app')
        FROM given WHERE login = admin AND NOT EXISTS (
            SELECT FROM pg_namespace WHERE nspname = 'tenancy' AND nspowner <> login)
        """,
        _unless_schema,
        By.SUPERUSER,
        "then put that login into TENANCY_DATABASE_URL, the owner's into "
        "TENANCY_ADMIN_DATABASE_URL, and run `python -m tenancy tenants grant`",
    ),
    Check(
        "owner_unset",
        "nobody has looked as the owner of the schemas",
        """
        SELECT login_name, 'TENANCY_ADMIN_DATABASE_URL=postgresql://<owner>:<password>@<host>/'
               || quote_ident(database_name)
        FROM given WHERE login = admin AND EXISTS (
            SELECT FROM pg_namespace WHERE nspname = 'tenancy' AND nspowner <> login)
        """,
        warning,
        By.ENVIRONMENT,
        "it is not set, or leads to the requests' login: set it to the owner's address",
    ),
    Check(
        "login_attributes",
        "the login of requests may do more than requests need",
        """
        SELECT lower(a.attribute), format('ALTER ROLE %I NO%s;', login_name, a.attribute)
        FROM given JOIN pg_roles r ON r.oid = login, LATERAL (VALUES
            ('SUPERUSER', rolsuper), ('BYPASSRLS', rolbypassrls), ('REPLICATION', rolreplication),
            ('CREATEROLE', rolcreaterole AND login <> admin), ('CREATEDB', rolcreatedb)
        ) AS a (attribute, has) WHERE a.has
        """,
        _unless_schema,
        By.SUPERUSER,
    ),
    Check(
        "login_inherits",
        "the login of requests has its roles' rights without becoming them",
        """
        SELECT role_name, CASE WHEN granted_by = ''
               THEN format('ALTER ROLE %I NOINHERIT;', login_name)
               ELSE format('GRANT %I TO %I WITH INHERIT FALSE%s;', role_name, login_name,
                           granted_by) END
        FROM given JOIN member ON member.member = login WHERE inherits
        """,
        fault_with_roles,
        By.SUPERUSER,
    ),
    Check(
        "login_memberships",
        "the login of requests may become roles that are no tenant's",
        f"""
        SELECT role_name, format('REVOKE %I FROM %I%s;', role_name, login_name, granted_by)
        FROM given JOIN member ON member.member = login
        WHERE (sets OR inherits) AND roleid NOT IN (SELECT role FROM tenant WHERE role IS NOT NULL)
          AND NOT ({_ELSEWHERE})
        """,
        by=By.SUPERUSER,
    ),
    Check(
        "login_grants",
        "the login of requests may give tenants' roles away",
        """
        SELECT role_name, format('REVOKE ADMIN OPTION FOR %I FROM %I%s;', role_name, login_name,
                                 granted_by)
        FROM given JOIN member ON member.member = login
        WHERE admin_option AND login <> admin
        """,
        by=By.SUPERUSER,
    ),
    Check(
        "login_rights",
        "the login of requests has rights in tenants' schemas of its own",
        """
        SELECT format('%s: %s (%s)', slug, object, string_agg(privilege, ', ')),
               string_agg(cure, E'\\n')
        FROM rights
        WHERE grantee = (SELECT login FROM given WHERE login <> admin) AND owner <> grantee
        GROUP BY slug, object
        """,
        fault_with_roles,
    ),
    Check(
        "login_many_roles",
        f"before PostgreSQL {BLOOM_FILTER_SINCE} so many roles slow down each new connection",
        f"""
        SELECT format('%s roles', count(*)), NULL FROM given JOIN member ON member.member = login
        WHERE server < {BLOOM_FILTER_SINCE} GROUP BY login HAVING count(*) > {MANY_ROLES}
        """,
        warning,
        advice="upgrade the server, or spread the tenants over several services, each with a login",
    ),
)
