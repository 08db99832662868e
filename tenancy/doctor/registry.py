"""The registry beside the schemas, and both beside the files."""

import asyncpg

from tenancy import migrate
from tenancy.doctor.catalogs import Patient
from tenancy.doctor.finding import By, Check, Finding, Level, warning
from tenancy.identifiers import CATALOG_SCHEMA
from tenancy.migrate import Stage
from tenancy.migrate.plan.chain import Verdict

_AUDIT = f"""
    SELECT c.* FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
    WHERE s.nspname = '{CATALOG_SCHEMA}' AND c.relname = 'audit'
"""

CHECKS = (
    Check(
        "schema_missing",
        "a tenant that is served has no schema",
        f"""
        SELECT slug, format('DELETE FROM {CATALOG_SCHEMA}.tenants WHERE schema_name = %L;', name)
        FROM tenant WHERE schema IS NULL AND state IN ('active', 'read_only', 'suspended')
        """,
        advice="restore it from a backup; or, if the tenant is gone for good, forget it",
    ),
    Check(
        "schema_orphaned",
        "a schema named like a tenant's is no tenant's",
        """
        SELECT nspname, format('DROP SCHEMA %I CASCADE;', nspname) FROM pg_namespace
        WHERE nspname LIKE 't\\_%' AND oid NOT IN (SELECT schema FROM tenant WHERE schema > 0)
          AND nspname NOT IN (SELECT name FROM ready)
        """,
        warning,
        advice="look what is in it, and dump it first",
    ),
    Check(
        "audit_changeable",
        "the audit can be changed, and not only be added to",
        f"""
        SELECT format('%s may %s', role, privilege),
               format('REVOKE %s ON {CATALOG_SCHEMA}.audit FROM %s;', privilege, role)
        FROM (SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
                     privilege_type
              FROM audit, aclexplode(coalesce(relacl, acldefault('r', relowner)))
              WHERE privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')) AS may (role, privilege)
        UNION ALL
        SELECT 'a trigger is switched off',
               'ALTER TABLE {CATALOG_SCHEMA}.audit ENABLE ALWAYS TRIGGER refuse_change;'
        FROM audit JOIN pg_trigger t ON t.tgrelid = audit.oid
        WHERE tgname = 'refuse_change' AND tgenabled <> 'A'
        UNION ALL
        SELECT 'a trigger is missing',
               'CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE '
               'ON {CATALOG_SCHEMA}.audit FOR EACH STATEMENT '
               'EXECUTE FUNCTION {CATALOG_SCHEMA}.refuse_change();' || chr(10) ||
               'ALTER TABLE {CATALOG_SCHEMA}.audit ENABLE ALWAYS TRIGGER refuse_change;'
        FROM audit WHERE NOT EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = audit.oid AND tgname = 'refuse_change')
        """.replace("FROM audit", f"FROM ({_AUDIT}) AS audit"),
        advice="somebody who meant to change it has done so on purpose: ask who, and what",
    ),
)


# With it the other findings tell what they can; one of them asks for the owner's address.
_AS_OWNER = "python -m tenancy doctor"


async def behind(patient: Patient) -> tuple[Finding, ...]:
    """Find what is behind its files, or was made by other ones; who is ahead of them is not."""
    try:
        survey = await migrate.plan(patient.settings)
    except asyncpg.InsufficientPrivilegeError:
        names = ["this login may not read the ledger of migrations"]
        return (_of(patient, "tenants_behind", Level.WARNING, names, _AS_OWNER),)
    late: dict[bool, list[str]] = {True: [], False: []}
    for step in survey.of(Verdict.BEHIND):
        late[step.standing.stage is Stage.TENANT].append(step.standing.tenant or step.standing.name)
    refused = [
        f"{step.standing.tenant or step.standing.name}: {step.position.reason}"
        for step in survey.steps
        if step.position.verdict.refused
    ]
    apply, look = "python -m tenancy.migrate", "python -m tenancy.migrate plan"
    return (
        _of(patient, "catalog_behind", Level.FAULT, late[False], apply),
        _of(patient, "tenants_behind", Level.WARNING, late[True], apply),
        _of(patient, "history_differs", Level.FAULT, refused, look),
    )


_WHAT = {
    "catalog_behind": "the registry or the shared schema is not what the files say",
    "tenants_behind": "tenants are not what the files say",
    "history_differs": "a schema was made by other files than these",
}


def _of(patient: Patient, id_: str, level: Level, names: list[str], cure: str) -> Finding:
    if not names:
        return Finding(id_, Level.OK, _WHAT[id_])
    first = tuple(sorted(names)[: patient.most])
    return Finding(id_, level, _WHAT[id_], len(names), first, (cure,), By.SHELL)
