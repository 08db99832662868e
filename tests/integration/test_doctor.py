"""Each check of the doctor: break the database so, see the finding, run the cure, see it gone."""

import json
import re
import shlex
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.databases import (
    SQL,
    Database,
    Logins,
    drop_database,
    drop_logins,
    make_database,
    make_logins,
    raise_walls,
    superuser,
)
from support.processes import environment, run

from tenancy import Settings, doctor, embedded, migrate, provision
from tenancy.doctor import By, Finding, Level
from tenancy.doctor.catalogs import Patient


@dataclass(frozen=True)
class Clinic:
    """A database whose logins are nobody else's, with the tenants acme and globex."""

    database: Database
    logins: Logins
    schemas: dict[str, str]

    async def break_by(self, sql: str) -> None:
        """Run *sql* as a superuser, who may become the owner by ``SET ROLE {owner}``."""
        names = {
            **self.schemas,
            "login": self.logins.app,
            "owner": self.logins.owner,
            "database": self.database.name,
        }
        async with superuser(self.database.superuser_url) as conn:
            await conn.execute(sql.format(**names))

    async def findings(self, **overrides: object) -> dict[str, Finding]:
        found = await doctor.diagnose(self.database.settings(**overrides))
        assert len({finding.id for finding in found}) == len(found)
        return {finding.id: finding for finding in found}

    async def cure(self, finding: Finding, settings: Settings) -> None:
        assert finding.cures
        for cure in finding.cures:
            if finding.by is By.SHELL:
                program, *words = shlex.split(cure)
                assert program == "python"
                result = await run(*words, env=environment(settings))
                assert result.code == 0, result.err
                continue
            as_owner = finding.by is By.OWNER
            url = self.database.admin_url if as_owner else self.database.superuser_url
            async with superuser(url) as conn:
                await conn.execute(cure)


def wrong(findings: dict[str, Finding]) -> dict[str, Finding]:
    return {id_: found for id_, found in findings.items() if found.level is not Level.OK}


@pytest.fixture(scope="module")
async def own_logins(server_url: str) -> AsyncIterator[Logins]:
    logins = await make_logins(server_url)
    yield logins
    await drop_logins(server_url, logins)


@pytest.fixture(scope="module")
async def own_template(server_url: str, own_logins: Logins) -> AsyncIterator[Database]:
    database = await make_database(server_url, own_logins)
    await _fill(database)
    yield database
    await drop_database(server_url, database)


async def _fill(database: Database) -> None:
    settings = database.settings()
    (await migrate.migrate(settings)).raise_for_failures()
    async with provision.administrator(settings) as admin:
        for slug in ("acme", "globex"):
            await admin.create(slug)


async def _clinic(database: Database, logins: Logins) -> Clinic:
    async with superuser(database.superuser_url) as conn:
        rows = await conn.fetch("SELECT slug, schema_name FROM tenancy.tenants")
    return Clinic(database, logins, {row["slug"]: row["schema_name"] for row in rows})


@pytest.fixture
async def clinic(
    server_url: str, own_logins: Logins, own_template: Database
) -> AsyncIterator[Clinic]:
    database = await make_database(server_url, own_logins, own_template.name)
    yield await _clinic(database, own_logins)
    await drop_database(server_url, database)


@dataclass(frozen=True)
class Break:
    """What to run, at which settings; findings that come along with the one that is meant."""

    sql: str
    level: Level = Level.FAULT
    also: frozenset[str] = frozenset()
    settings: dict[str, object] = field(default_factory=dict)


BREAKS = {
    "synchronous_commit": Break(
        "ALTER ROLE {owner} IN DATABASE {database} SET synchronous_commit = off", Level.WARNING
    ),
    "max_connections": Break("ALTER ROLE {login} CONNECTION LIMIT 5", Level.WARNING),
    "login_attributes": Break(
        "ALTER ROLE {login} SUPERUSER BYPASSRLS REPLICATION CREATEROLE CREATEDB"
    ),
    "login_inherits": Break(
        "DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 "
        "THEN EXECUTE 'GRANT {acme} TO {login} WITH INHERIT TRUE'; "
        "ELSE ALTER ROLE {login} INHERIT; END IF; END $$"
    ),
    "login_memberships": Break("GRANT pg_read_all_data TO {login}"),
    "login_grants": Break("GRANT {acme} TO {login} WITH ADMIN OPTION"),
    "login_rights": Break(
        "SET ROLE {owner}; GRANT USAGE ON SCHEMA {acme} TO {login}; "
        "GRANT SELECT ON ALL TABLES IN SCHEMA {acme} TO {login}; "
        "GRANT UPDATE (body) ON {globex}.notes TO {login}; "
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {acme} TO {login}; "
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {acme} GRANT SELECT ON TABLES TO {login}; "
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {acme} GRANT EXECUTE ON FUNCTIONS TO {login}"
    ),
    "database_create": Break("GRANT CREATE ON DATABASE {database} TO {login}"),
    "database_temporary": Break("GRANT TEMPORARY ON DATABASE {database} TO PUBLIC", Level.WARNING),
    "public_schema": Break("GRANT CREATE ON SCHEMA public TO PUBLIC", Level.WARNING),
    "public_rights": Break(
        "SET ROLE {owner}; GRANT USAGE ON SCHEMA {acme} TO PUBLIC; "
        "GRANT SELECT ON {acme}.notes TO PUBLIC"
    ),
    "shared_writable": Break(
        "SET ROLE {owner}; GRANT INSERT, TRIGGER ON shared.languages TO PUBLIC; "
        "GRANT CREATE ON SCHEMA shared TO {acme}"
    ),
    "registry_exposed": Break(
        "SET ROLE {owner}; GRANT SELECT ON tenancy.migrations TO {acme}; "
        "GRANT UPDATE ON tenancy.tenants TO {login}; GRANT USAGE ON SCHEMA tenancy TO PUBLIC"
    ),
    "public_path": Break(
        'ALTER ROLE {login} IN DATABASE {database} SET search_path = "$user", public; '
        "ALTER DATABASE {database} SET search_path = public",
        Level.WARNING,
    ),
    "same_name": Break("SET ROLE {owner}; CREATE TABLE shared.notes (id int)", Level.WARNING),
    "role_missing": Break(
        "REVOKE {acme} FROM {login}; SET ROLE {owner}; REVOKE {acme} FROM {login}"
    ),
    "role_attributes": Break("ALTER ROLE {acme} LOGIN CREATEDB"),
    "role_memberships": Break("GRANT pg_monitor TO {acme}"),
    "role_members": Break("GRANT {acme} TO pg_monitor"),
    "role_owns": Break("ALTER TABLE {acme}.notes OWNER TO {acme}"),
    "role_rights": Break(
        "SET ROLE {owner}; GRANT TRIGGER, TRUNCATE, REFERENCES ON {acme}.notes TO {acme}; "
        "GRANT CREATE ON SCHEMA {acme} TO {acme}"
    ),
    "role_elsewhere": Break(
        "SET ROLE {owner}; GRANT USAGE ON SCHEMA {globex} TO {acme}; "
        "GRANT SELECT ON {globex}.notes TO {acme}"
    ),
    "schema_closed": Break("SET ROLE {owner}; REVOKE USAGE ON SCHEMA {globex} FROM {globex}"),
    "rights_missing": Break(
        "SET ROLE {owner}; REVOKE DELETE ON {acme}.notes FROM {acme}", Level.WARNING
    ),
    "schema_missing": Break(
        "ALTER SCHEMA {acme} RENAME TO elsewhere", also=frozenset({"tenants_behind"})
    ),
    "schema_orphaned": Break("SET ROLE {owner}; CREATE SCHEMA t_gone_0a1b2c", Level.WARNING),
    "audit_changeable": Break(
        "SET ROLE {owner}; GRANT UPDATE, DELETE, TRUNCATE ON tenancy.audit TO {owner}; "
        "ALTER TABLE tenancy.audit DISABLE TRIGGER refuse_change"
    ),
    "outside_view": Break(
        "SET ROLE {owner}; CREATE VIEW shared.every_note AS SELECT * FROM {acme}.notes; "
        "CREATE MATERIALIZED VIEW shared.kept AS SELECT * FROM {globex}.notes; "
        "CREATE VIEW {globex}.theirs AS SELECT * FROM {acme}.notes"
    ),
    "open_report": Break(
        "SET ROLE {owner}; CREATE SCHEMA tenancy_reports; "
        "CREATE VIEW tenancy_reports.every_note AS SELECT * FROM {acme}.notes; "
        "GRANT SELECT ON tenancy_reports.every_note TO PUBLIC, {globex}, {login}"
    ),
    "outside_function": Break(
        "SET ROLE {owner}; CREATE FUNCTION shared.newest() RETURNS text "
        "BEGIN ATOMIC SELECT max(body) FROM {acme}.notes; END"
    ),
    "outside_reference": Break(
        "SET ROLE {owner}; CREATE TABLE {globex}.likes (note bigint REFERENCES {acme}.notes)"
    ),
    "foreign_sequence": Break(
        "SET ROLE {owner}; CREATE TABLE {acme}.likes (id bigserial); "
        "CREATE TABLE {globex}.likes (LIKE {acme}.likes INCLUDING ALL); "
        "INSERT INTO {globex}.likes DEFAULT VALUES"
    ),
    "shared_rowtype": Break(
        "SET check_function_bodies = off; SET ROLE {owner}; "
        "CREATE FUNCTION shared.f() RETURNS void LANGUAGE plpgsql AS "
        "'DECLARE note notes%ROWTYPE; BEGIN NULL; END'",
        Level.WARNING,
    ),
    "own_types": Break(
        "SET ROLE {owner}; CREATE TYPE {acme}.mood AS ENUM ('good'); "
        "CREATE DOMAIN {globex}.mood AS text; CREATE TYPE {acme}.pair AS (a int, b int)",
        Level.WARNING,
    ),
    "security_definer": Break(
        "SET ROLE {owner}; CREATE FUNCTION shared.f() RETURNS int LANGUAGE sql "
        "SECURITY DEFINER AS 'SELECT 1'",
        Level.WARNING,
    ),
    # plpgsql's extension takes the place of one that need not be installed here.
    "extension_functions": Break(
        "CREATE FUNCTION public.dblink(text) RETURNS int LANGUAGE sql AS 'SELECT 1'; "
        "UPDATE pg_extension SET extname = 'dblink' WHERE extname = 'plpgsql'; "
        "ALTER EXTENSION dblink ADD FUNCTION public.dblink(text); "
        "ALTER FUNCTION public.dblink(text) OWNER TO {owner}",
        Level.WARNING,
    ),
    "invalid_index": Break(
        "UPDATE pg_index SET indisvalid = false WHERE indrelid = '{acme}.notes'::regclass",
        Level.WARNING,
    ),
    "catalog_behind": Break(
        "DELETE FROM tenancy.checkpoints WHERE stage = 'shared'; "
        "DELETE FROM tenancy.migrations WHERE stage = 'shared'; DROP TABLE shared.languages"
    ),
    "tenants_behind": Break(
        "COMMENT ON SCHEMA {acme} IS NULL; "
        "DELETE FROM tenancy.checkpoints WHERE schema_name = '{acme}'; "
        "DELETE FROM tenancy.migrations WHERE schema_name = '{acme}'; DROP TABLE {acme}.notes",
        Level.WARNING,
    ),
}


async def test_a_database_made_by_the_book_has_no_fault(clinic: Clinic) -> None:
    for level in ("role", "schema"):
        if level == "schema":
            async with provision.administrator(clinic.database.settings(isolation=level)) as admin:
                await admin.grant()
        assert wrong(await clinic.findings(isolation=level)) == {}


@pytest.mark.parametrize("id_", BREAKS)
async def test_what_is_broken_is_found_and_cured_as_printed(clinic: Clinic, id_: str) -> None:
    broken = BREAKS[id_]
    await clinic.break_by(broken.sql)
    settings = clinic.database.settings(**broken.settings)
    found = wrong(await clinic.findings(**broken.settings))
    assert set(found) == {id_} | broken.also
    assert found[id_].level is broken.level
    assert found[id_].count == len(found[id_].names) > 0
    await clinic.cure(found[id_], settings)
    assert id_ not in wrong(await clinic.findings(**broken.settings))


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TRIGGER refuse_change ON tenancy.audit",
        "ALTER TABLE tenancy.audit DISABLE TRIGGER refuse_change",
        "ALTER TABLE tenancy.audit ENABLE TRIGGER refuse_change",
    ],
)
async def test_an_audit_without_its_trigger_is_found_and_cured(clinic: Clinic, sql: str) -> None:
    await clinic.break_by(sql)
    found = wrong(await clinic.findings())
    assert set(found) == {"audit_changeable"}
    await clinic.cure(found["audit_changeable"], clinic.database.settings())
    assert wrong(await clinic.findings()) == {}


async def test_the_level_decides_what_a_right_of_the_login_is(clinic: Clinic) -> None:
    async with provision.administrator(clinic.database.settings(isolation="schema")) as admin:
        await admin.grant()
    found = wrong(await clinic.findings(isolation="role"))
    assert set(found) == {"login_rights"}
    await clinic.cure(found["login_rights"], clinic.database.settings())
    assert set(wrong(await clinic.findings(isolation="schema"))) == {
        "schema_closed",
        "rights_missing",
    }


async def test_requests_that_run_as_the_owner_are_given_a_login(clinic: Clinic) -> None:
    overrides = {"database_url": clinic.database.admin_url}
    found = wrong(await clinic.findings(**overrides))
    assert set(found) <= {"login_is_owner", "role_missing", "role_members"}
    finding = found["login_is_owner"]
    try:
        await clinic.cure(finding, clinic.database.settings())
    finally:
        await clinic.break_by("DROP OWNED BY {database}_app; DROP ROLE {database}_app")


async def test_an_owner_that_is_not_named_is_asked_for(clinic: Clinic) -> None:
    found = wrong(await clinic.findings(admin_database_url=None))
    assert "login_is_owner" not in found
    assert "set it to the owner's address" in found["owner_unset"].advice
    assert found["owner_unset"].cures[0].startswith("TENANCY_ADMIN_DATABASE_URL=")


async def test_the_walls_of_level_strict_are_asked_for(clinic: Clinic) -> None:
    found = wrong(await clinic.findings(isolation="strict"))
    assert set(found) == {"walls"}
    assert len(found["walls"].names) == doctor.MOST < found["walls"].count
    assert "python -m tenancy walls" in found["walls"].cures[0]
    await raise_walls(clinic.database)
    assert wrong(await clinic.findings(isolation="strict")) == {}


async def test_files_that_were_changed_are_found(clinic: Clinic, tmp_path: Path) -> None:
    shutil.copytree(SQL, tmp_path / "sql")
    file = next((tmp_path / "sql" / "tenant").iterdir())
    file.write_text(file.read_text() + "\n-- changed\nSELECT 1;\n")
    found = wrong(await clinic.findings(sql_dir=tmp_path / "sql"))
    assert set(found) == {"history_differs"}
    assert found["history_differs"].count == 2


async def test_names_are_quoted_in_cures(clinic: Clinic) -> None:
    await clinic.break_by(
        'SET ROLE {owner}; CREATE TABLE {acme}."a ""b"" c" ("d e" int); '
        'GRANT TRUNCATE ON {acme}."a ""b"" c" TO {acme}; '
        'GRANT SELECT ("d e") ON {acme}."a ""b"" c" TO {login}'
    )
    found = wrong(await clinic.findings())
    assert set(found) == {"role_rights", "login_rights"}
    for finding in found.values():
        await clinic.cure(finding, clinic.database.settings())
    assert wrong(await clinic.findings()) == {}


async def test_a_long_list_is_cut_and_counted(clinic: Clinic) -> None:
    await clinic.break_by(
        "DO $$ BEGIN FOR n IN 1..25 LOOP "
        "EXECUTE format('CREATE SCHEMA t_gone_%s', n); END LOOP; END $$"
    )
    found = (await clinic.findings())["schema_orphaned"]
    assert (found.count, len(found.names), len(found.cures)) == (25, 20, 20)
    everything = await doctor.diagnose(clinic.database.settings(), most=None)
    assert len(next(f for f in everything if f.id == "schema_orphaned").cures) == 25
    assert any("and 5 more" in line for line in doctor.lines([found]))


async def test_an_empty_database_is_sent_to_the_migrator(
    server_url: str, own_logins: Logins
) -> None:
    database = await make_database(server_url, own_logins)
    found = wrong(await Clinic(database, own_logins, {}).findings())
    assert set(found) == {"catalog_behind"}
    assert found["catalog_behind"].cures == ("python -m tenancy.migrate",)
    await drop_database(server_url, database)


@pytest.mark.parametrize(
    ("id_", "was", "becomes"),
    [
        ("server_version", "server < 15", "server < 99"),
        ("login_many_roles", "server < 16 GROUP BY login HAVING count(*) > 5000",
         "true GROUP BY login HAVING count(*) > 1"),
        ("dead_clients", "listen_addresses') <> ''", "listen_addresses') <> 'x'"),
    ],
)  # fmt: skip
async def test_what_no_server_here_is_like_is_found_with_another_limit(
    clinic: Clinic, id_: str, was: str, becomes: str
) -> None:
    check = next(check for check in doctor.CHECKS if check.id == id_)
    assert was in check.sql
    check = replace(check, sql=check.sql.replace(was, becomes))
    async with superuser(clinic.database.superuser_url) as conn:
        patient = Patient(conn, clinic.database.settings(), clinic.logins.app, has_registry=True)
        found = await patient.examined(check)
    assert found is not None
    assert found.level is not Level.OK
    assert found.advice or found.cures


async def test_a_servers_own_settings_are_found_and_cured(scratch: Path) -> None:
    """On a server of its own, which can be started again."""
    home, small = scratch / "ill", {"max_connections": "20", "max_prepared_transactions": "0"}
    server = embedded.start(home)
    try:
        url = server.url("postgres", "postgres")
        logins = await make_logins(url)
        database = await make_database(url, logins)
        await _fill(database)
        clinic = await _clinic(database, logins)
        async with superuser(url) as conn:
            for name, value in {
                **small, "max_locks_per_transaction": "10", "fsync": "off",
                "full_page_writes": "off", "synchronous_commit": "off",
            }.items():  # fmt: skip
                await conn.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await clinic.break_by(
            "DO $$ BEGIN FOR n IN 1..30 LOOP "
            "EXECUTE format('CREATE TABLE {acme}.t%s (a text)', n); END LOOP; END $$; "
            "ALTER DATABASE {database} OWNER TO {owner}"
        )
        server.stop()
        server = embedded.start(home)
        overrides: dict[str, object] = {"require_durability": True, "pool_max_size": 15}
        found = wrong(await clinic.findings(**overrides))
        ill = {"durability", "synchronous_commit", "max_connections", "max_locks"}
        assert set(found) - {"rights_missing"} == ill
        assert found["durability"].level is Level.FAULT
        milder = await clinic.findings(require_durability=False)
        assert milder["durability"].level is Level.WARNING
        for id_ in ill:
            await clinic.cure(found[id_], clinic.database.settings())
        server.stop()
        server = embedded.start(home)
        assert not ill & set(wrong(await clinic.findings(**overrides)))
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


async def test_the_command_ends_with_4_where_there_is_a_fault(clinic: Clinic) -> None:
    env = environment(clinic.database.settings())
    well = await run("-m", "tenancy", "doctor", env=env)
    assert well.code == 0, well.err
    assert well.out.endswith("0 faults, 0 warnings\n")
    await clinic.break_by("GRANT TEMPORARY ON DATABASE {database} TO PUBLIC")
    assert (await run("-m", "tenancy", "doctor", env=env)).code == 0
    await clinic.break_by("GRANT {acme} TO {login} WITH ADMIN OPTION")
    ill = await run("-m", "tenancy", "doctor", "--json", env=env)
    await clinic.cure((await clinic.findings())["login_grants"], clinic.database.settings())
    assert ill.code == 4
    found = [json.loads(line) for line in ill.out.splitlines()]
    assert [f["id"] for f in found if f["level"] == "fault"] == ["login_grants"]
    assert {"id", "level", "what", "count", "names", "cures", "by", "advice"} == set(found[0])


async def test_the_readme_shows_what_is_printed(clinic: Clinic) -> None:
    readme = (SQL.parent / "README.md").read_text()
    shown = re.search(r"<!-- doctor -->\n```text\n(.*?)```", readme, re.DOTALL)
    assert shown
    await clinic.break_by(
        "GRANT TEMPORARY ON DATABASE {database} TO PUBLIC; "
        "SET ROLE {owner}; GRANT TRIGGER ON {acme}.notes TO {acme}"
    )
    said = "".join(f"{line}\n" for line in doctor.lines([*wrong(await clinic.findings()).values()]))
    said = said.replace(clinic.database.name, "notes").replace(
        clinic.schemas["acme"], "t_acme_3f9c1e"
    )
    assert said.startswith(shown[1])


def test_every_check_has_a_break_of_its_own() -> None:
    text = Path(__file__).read_text()
    ids = [check.id for check in doctor.CHECKS]
    assert len(set(ids)) == len(ids)
    assert [id_ for id_ in ids if f'"{id_}"' not in text] == []
