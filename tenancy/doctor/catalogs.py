"""What every check reads: who the tenants are, and who may do what in their schemas.

Sets only, so that ten thousand tenants take seconds. PostgreSQL does not compute a table that a
check leaves out, nor the cures of rights that a check passes over by a condition on their own
columns, rather than by a join.
"""

from dataclasses import dataclass

import asyncpg

from tenancy.doctor.finding import Check, Finding, Level
from tenancy.identifiers import CATALOG_SCHEMA, literal
from tenancy.preflight import ROLE_OPTIONS_SINCE
from tenancy.settings import Pooler, Settings

_REGISTRY = f"SELECT slug, schema_name::name AS name, state FROM {CATALOG_SCHEMA}.tenants"
_NO_REGISTRY = "SELECT NULL::text AS slug, NULL::name AS name, NULL::text AS state WHERE false"
_READY = f"SELECT schema_name::name AS name FROM {CATALOG_SCHEMA}.ready_schemas"
# Who may not read that, or has no such table yet, goes by what they are called.
_LIKE_READY = "SELECT nspname AS name FROM pg_namespace WHERE nspname ~ '^t_ready_[0-9a-f]{12}$'"

WHO = "CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END"


def kind(relkind: str) -> str:
    """Return SQL for how GRANT and REVOKE name the kind of a relation."""
    return f"CASE WHEN {relkind} = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END"


# given:    one row, with the logins and settings asked about
# tenant:   the registry beside schemas and roles
# ready:    schemas that were made ahead of tenants
# relation: tables, views and sequences in tenants' schemas
# rights:   every privilege granted there, and how to take it away
# member:   memberships; INHERIT and SET are options of each since 16
_TABLES = f"""
WITH given AS (
    SELECT l.oid AS login, l.rolname AS login_name, a.oid AS admin, a.rolname AS admin_name,
           d.oid AS database, d.datname AS database_name, s.oid AS shared, $2::name AS shared_name,
           $3::int AS pool_size, $4::bool AS pooled, $5::bool AS sets_role,
           current_setting('server_version_num')::int / 10000 AS server
    FROM pg_roles l JOIN pg_roles a ON a.rolname = session_user
    JOIN pg_database d ON d.datname = current_database()
    LEFT JOIN pg_namespace s ON s.nspname = $2::name
    WHERE l.rolname = $1::name
), tenant AS MATERIALIZED (
    SELECT t.*, n.oid AS schema, n.nspowner, n.nspacl, r.oid AS role
    FROM ({{registry}}) AS t LEFT JOIN pg_namespace n ON n.nspname = t.name
    LEFT JOIN pg_roles r ON r.rolname = t.name
), ready AS (
    {{ready}}
), relation AS (
    SELECT t.slug, t.name AS schema_name, t.schema, t.role, c.oid, c.relname, c.relkind,
           c.relowner, c.relacl, {kind("c.relkind")} AS kind
    FROM tenant t JOIN pg_class c ON c.relnamespace = t.schema
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), rights AS (
    SELECT slug, role, nspowner AS owner, 'SCHEMA' AS kind, 'schema' AS object, grantee,
           privilege_type AS privilege,
           format('REVOKE %s ON SCHEMA %I FROM %s;', privilege_type, name, {WHO}) AS cure
    FROM tenant, aclexplode(nspacl)
    UNION ALL
    SELECT slug, role, relowner, kind, format('%s %I', lower(kind), relname), grantee,
           privilege_type,
           format('REVOKE %s ON %s %I.%I FROM %s;', privilege_type, kind, schema_name, relname,
                  {WHO})
    FROM relation, aclexplode(relacl)
    UNION ALL
    SELECT slug, role, relowner, kind, format('column %I.%I', relname, attname), grantee,
           privilege_type,
           format('REVOKE %s (%I) ON TABLE %I.%I FROM %s;', privilege_type, attname, schema_name,
                  relname, {WHO})
    FROM relation JOIN pg_attribute ON attrelid = relation.oid, aclexplode(attacl)
    WHERE attacl IS NOT NULL
    UNION ALL
    SELECT slug, role, defaclrole, to_come, format('%ss to come', lower(to_come)), grantee,
           privilege_type,
           format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I REVOKE %s ON %sS FROM %s;',
                  pg_get_userbyid(defaclrole), name, privilege_type, to_come, {WHO})
    FROM tenant JOIN pg_default_acl ON defaclnamespace = schema, aclexplode(defaclacl),
         LATERAL (SELECT CASE defaclobjtype WHEN 'r' THEN 'TABLE' WHEN 'S' THEN 'SEQUENCE'
                         WHEN 'f' THEN 'FUNCTION' ELSE 'TYPE' END) AS names (to_come)
), member AS (
    SELECT m.roleid, m.member, m.grantor, m.admin_option, r.rolname AS role_name,
           coalesce((to_jsonb(m) ->> 'inherit_option')::bool, l.rolinherit) AS inherits,
           coalesce((to_jsonb(m) ->> 'set_option')::bool, true) AS sets,
           l.rolname AS member_name,
           CASE WHEN g.server >= {ROLE_OPTIONS_SINCE}
                THEN format(' GRANTED BY %I', pg_get_userbyid(m.grantor)) ELSE '' END AS granted_by
    FROM given g, pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
    JOIN pg_roles l ON l.oid = m.member
), found (name, cure) AS (
    {{check}}
)
SELECT count(*) OVER () AS count, name, cure FROM found ORDER BY name LIMIT $6
"""


@dataclass(frozen=True, slots=True)
class Patient:
    """The database that is looked at.

    Attributes:
        conn: the owner's connection.
        login: whom requests run as.
        has_registry: whether the catalog has been made.
        most: names and cures of each finding; None: all.
        sees_ready: whether *conn* may read which schemas were made ahead.
    """

    conn: asyncpg.Connection
    settings: Settings
    login: str
    has_registry: bool
    most: int | None = None
    sees_ready: bool = False

    async def examined(self, check: Check) -> Finding | None:
        """Return what *check* finds; None where it is not for these settings."""
        level = check.grade(self.settings)
        if level is None:
            return None
        rows = await self.conn.fetch(
            _TABLES.format(
                registry=_REGISTRY if self.has_registry else _NO_REGISTRY,
                ready=_READY if self.sees_ready else _LIKE_READY,
                check=check.sql,
            ),
            self.login,
            self.settings.shared_schema,
            self.settings.pool_max_size,
            self.settings.pooler is not Pooler.NONE,
            self.settings.isolation.sets_role,
            self.most,
        )
        if not rows:
            return Finding(check.id, Level.OK, check.what)
        cures = "\n".join(row["cure"] for row in rows if row["cure"]).splitlines()
        return Finding(
            check.id,
            level,
            check.what,
            rows[0]["count"],
            tuple(row["name"] for row in rows),
            tuple(dict.fromkeys(cures)),
            check.by,
            check.advice,
        )


def command(text: str) -> str:
    """Return SQL for a cure that is the same whatever was found."""
    return literal(text)
