"""G15: what a tenant leaves in its schema does not make the migrator run its code.

The migrator owns the tables: a trigger, a default, a policy or a function that a tenant had planted
would run with the owner's rights at the next data fix.
"""

import shutil
from pathlib import Path

import asyncpg
import pytest
from support.databases import SQL, Database, Open, superuser

from tenancy import Settings, doctor, migrate
from tenancy.migrate import Outcome

# What the next release does to every tenant: each line would run one kind of planted code.
FIX = """
INSERT INTO notes (body) VALUES ('  by the migrator  ');
UPDATE notes SET body = btrim(body) WHERE length(body) > 0;
ALTER TABLE notes ADD pinned boolean NOT NULL DEFAULT false;
CREATE INDEX notes_lower ON notes (lower(body));
ALTER TABLE notes ADD CONSTRAINT notes_short CHECK (length(body) < 10000);
DELETE FROM notes WHERE body = 'by the migrator';
DROP INDEX notes_lower;
"""

SPY = (
    "FUNCTION {where}spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO {schema}.evidence SELECT current_user, rolsuper FROM pg_roles"
    " WHERE rolname = current_user; RETURN NEW; END $$"
)
PLANTS = {
    "a trigger": "CREATE TRIGGER spy BEFORE UPDATE ON notes "
    "FOR EACH ROW EXECUTE FUNCTION {schema}.spy()",
    "a trigger that exists already": "CREATE TRIGGER spy BEFORE UPDATE ON notes "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "a trigger switched on": "ALTER TABLE notes ENABLE TRIGGER ALL",
    "a rule": "CREATE RULE spy AS ON UPDATE TO notes DO ALSO SELECT {schema}.spy()",
    "a policy": "CREATE POLICY spy ON notes USING ({schema}.spy() IS NULL)",
    "row security": "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
    "a default": "ALTER TABLE notes ALTER body SET DEFAULT {schema}.spy()",
    "a constraint": "ALTER TABLE notes ADD CHECK ({schema}.spy() IS NULL)",
    "an index": "CREATE INDEX spy ON notes ({schema}.spy())",
    "a function with a built-in's name": "CREATE FUNCTION {schema}.btrim(text) RETURNS text "
    "LANGUAGE sql RETURN 'mine'",
    "an operator with a built-in's name": "CREATE OPERATOR {schema}.> "
    "(leftarg = int, rightarg = int, function = int4gt)",
    "a table of the next file's name": "CREATE TABLE {schema}.pinned (id int)",
    "a view in the way": "CREATE VIEW {schema}.spies AS SELECT 1",
    "a type": "CREATE TYPE {schema}.note AS ENUM ('spy')",
    "a cast": "CREATE CAST (text AS int) WITH INOUT AS ASSIGNMENT",
    "a function in the shared schema": "CREATE " + SPY.format(where="shared.", schema="shared"),
    "a function in public": "CREATE " + SPY.format(where="public.", schema="public"),
    "a table in public": "CREATE TABLE public.notes (id int)",
    "a function in the catalog": "CREATE " + SPY.format(where="tenancy.", schema="tenancy"),
    "a temporary table": "CREATE TEMP TABLE notes (LIKE notes)",
    "a temporary function": "CREATE " + SPY.format(where="pg_temp.", schema="pg_temp"),
    "a setting of the owner's": "ALTER ROLE {owner} SET search_path = 'public'",
    "a setting of the database's": "ALTER DATABASE {database} SET search_path = 'public'",
    "a setting of its own role's": "ALTER ROLE {schema} SET session_preload_libraries = 'spy'",
    "the owner as a member": "GRANT {schema} TO {owner}",
    "itself as the owner": "SET ROLE {owner}",
    "another owner of its table": "ALTER TABLE notes OWNER TO {schema}",
    "an event trigger": "CREATE EVENT TRIGGER spy ON ddl_command_end "
    "EXECUTE FUNCTION {schema}.spy()",
    "a row of the ledger": "INSERT INTO tenancy.migrations (schema_oid, version, schema_name, "
    "stage, name, checksum) SELECT oid, '0002', nspname, 'tenant', 'fix', '' FROM pg_namespace "
    "WHERE nspname = '{schema}'",
    "another checkpoint": "UPDATE tenancy.checkpoints SET digest = 'mine'",
    "a stamp": "COMMENT ON SCHEMA {schema} IS 'tenancy version=0002'",
}


@pytest.fixture
def with_a_fix(database: Database, tmp_path: Path) -> Settings:
    """The database's settings, with one more file than has been applied."""
    shutil.copytree(SQL, tmp_path / "sql")
    (tmp_path / "sql" / "tenant" / "0002_fix.sql").write_text(FIX)
    return database.settings(sql_dir=tmp_path / "sql")


async def _names(database: Database) -> dict[str, str]:
    async with superuser(database.superuser_url) as conn:
        schema = await conn.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = 'acme'")
        owner = await conn.fetchval(
            "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = $1", schema
        )
    return {"schema": schema, "owner": owner, "database": database.name}


async def _evidence(database: Database, schema: str) -> None:
    """Make the table in which planted code writes down as whom it was run."""
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            f"CREATE TABLE {schema}.evidence (role name, is_superuser bool); "
            f"GRANT ALL ON {schema}.evidence TO PUBLIC"
        )


@pytest.mark.parametrize("level", ["schema", "role", "strict"])
async def test_a_tenant_can_plant_nothing_and_the_fleet_goes_on(
    open_tenancy: Open, database: Database, with_a_fix: Settings, level: str
) -> None:
    names = await _names(database)
    planted = []
    async with open_tenancy(isolation=level) as tenancy:
        for what, text in PLANTS.items():
            try:
                async with tenancy.transaction("acme") as conn:
                    await conn.execute(text.format(**names))
            except Exception:
                continue
            planted.append(what)
    assert planted == []
    report = await migrate.migrate(with_a_fix)
    report.raise_for_failures()
    assert {r.tenant for r in report.results if r.outcome is Outcome.APPLIED} >= {"acme", "globex"}


async def test_a_tenants_role_without_the_gate_can_plant_nothing_either(database: Database) -> None:
    """A login that has become the tenant's role, by whatever injection, at level role."""
    names = await _names(database)
    async with superuser(database.superuser_url) as conn:
        await conn.execute(f"SET search_path = {names['schema']}")
        for what, text in PLANTS.items():
            with pytest.raises(asyncpg.PostgresError) as refusal:
                async with conn.transaction():
                    await conn.execute(f"SET LOCAL SESSION AUTHORIZATION {names['schema']}")
                    await conn.execute(text.format(**names))
            refused = isinstance(
                refusal.value,
                # Some are refused before their rights are looked at: what they name is not there.
                asyncpg.InsufficientPrivilegeError
                | asyncpg.UndefinedFunctionError
                | asyncpg.UndefinedObjectError
                | asyncpg.FeatureNotSupportedError,
            )
            assert refused, (what, refusal.value)


async def test_without_the_wall_the_migrator_would_run_planted_code(
    database: Database, with_a_fix: Settings
) -> None:
    """The test above can fail; and even then the code has no more than the owner's rights."""
    names = await _names(database)
    schema = names["schema"]
    await _evidence(database, schema)
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            f"GRANT CREATE ON SCHEMA {schema} TO {schema}; "
            f"GRANT TRIGGER ON {schema}.notes TO {schema}"
        )
        await conn.execute(f"SET SESSION AUTHORIZATION {schema}; SET search_path = {schema}")
        await conn.execute("CREATE " + SPY.format(where="", schema=schema))
        await conn.execute(PLANTS["a trigger"].format(**names))
        await conn.execute("RESET SESSION AUTHORIZATION")
        # The doctor names it before the migrator runs it.
        found = await doctor.diagnose(with_a_fix)
        assert {"role_rights"} <= {finding.id for finding in found}
        (await migrate.migrate(with_a_fix)).raise_for_failures()
        rows = await conn.fetch(f"SELECT DISTINCT role, is_superuser FROM {schema}.evidence")
    assert [tuple(row) for row in rows] == [(names["owner"], False)]
