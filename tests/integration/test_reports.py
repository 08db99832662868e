"""Reports over all tenants: whose rows they show, who may read them, and when they are aside."""

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner
from support.databases import PASSWORD, SQL, Database, at, superuser
from support.processes import environment

from tenancy import doctor, migrate, provision
from tenancy.commands.tree import cli
from tenancy.errors import (
    InvalidReportError,
    ReportDependedOnError,
    ReportExistsError,
    ReportInUseError,
    ReportTooLargeError,
    UnknownReportError,
)
from tenancy.exits import Exit
from tenancy.migrate.upgrade import aside, lock
from tenancy.provision import maintenance
from tenancy.reports import views
from tenancy.settings import Settings

NOTES = ["id", "body", "created_at", "updated_at"]
ASIDE = asyncpg.ObjectNotInPrerequisiteStateError


@pytest.fixture
async def reader(server_url: str) -> AsyncIterator[str]:
    """A login that owns nothing; torn down after the test's database."""
    name = f"test_reader_{secrets.token_hex(4)}"
    async with superuser(server_url) as conn:
        await conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield name
    async with superuser(server_url) as conn:
        await conn.execute(f"DROP ROLE {name}")


@dataclass(frozen=True)
class Reported:
    """A database whose reader may connect."""

    database: Database
    reader: str

    def settings(self, **more: object) -> Settings:
        return self.database.settings(reports_role=self.reader, **more)

    async def read(self, sql: str) -> list[tuple[object, ...]]:
        """What the reader is answered."""
        conn = await asyncpg.connect(at(self.database.superuser_url, user=self.reader))
        try:
            return [tuple(row) for row in await conn.fetch(sql)]
        finally:
            await conn.close()

    @property
    def owner(self) -> str:
        return self.database.admin_url.split("//")[1].split(":")[0]

    async def run(self, sql: str, *args: object) -> str:
        async with superuser(self.database.superuser_url) as conn:
            return str(await conn.execute(sql, *args))

    async def schema(self, slug: str) -> str:
        async with superuser(self.database.superuser_url) as conn:
            found = "SELECT schema_name FROM tenancy.tenants WHERE slug = $1"
            return str(await conn.fetchval(found, slug))

    async def note(self, slug: str, body: str) -> None:
        await self.run(f"INSERT INTO {await self.schema(slug)}.notes (body) VALUES ($1)", body)

    async def bodies(self, report: str = "notes") -> list[tuple[object, ...]]:
        return await self.read(f"SELECT tenant, body FROM tenancy_reports.{report} ORDER BY 1, 2")


@pytest.fixture
async def reported(reader: str, database: Database) -> Reported:
    async with superuser(database.superuser_url) as conn:
        await conn.execute(f"GRANT CONNECT ON DATABASE {database.name} TO {reader}")
    return Reported(database, reader)


async def _create(reported: Reported, name: str = "notes", **options: object) -> None:
    async with provision.administrator(reported.settings()) as admin:
        await admin.create_report(name, "notes", **options)  # type: ignore[arg-type]


async def _refresh(reported: Reported) -> list[str]:
    async with provision.administrator(reported.settings()) as admin:
        return [report.name for report in await admin.refresh_reports()]


async def _up(settings: Settings) -> None:
    (await migrate.migrate(settings)).raise_for_failures()


async def test_a_report_shows_every_tenants_rows_with_whose_they_are(reported: Reported) -> None:
    await reported.note("acme", "ours")
    await reported.note("globex", "theirs")
    await _create(reported)
    assert await reported.bodies() == [("acme", "ours"), ("globex", "theirs")]
    async with provision.administrator(reported.settings()) as admin:
        (report,) = await admin.reports()
        ids = {(await admin.show(slug)).tenant.id for slug in ("acme", "globex")}
    rows = await reported.read("SELECT tenant_id FROM tenancy_reports.notes")
    assert {row[0] for row in rows} == ids
    assert (report.name, report.table, report.tenants) == ("notes", "notes", 2)


async def test_nobody_reads_it_but_the_reader(reported: Reported) -> None:
    await _create(reported)
    schema = await reported.schema("acme")
    for url, role in (
        (reported.database.app_url, "none"),
        (reported.database.app_url, schema),
        (reported.database.superuser_url, "pg_monitor"),
    ):
        conn = await asyncpg.connect(url)
        await conn.execute(f"SET ROLE {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetch("SELECT * FROM tenancy_reports.notes")
        await conn.close()
    with pytest.raises(asyncpg.PostgresError):
        await reported.read("DELETE FROM tenancy_reports.notes")
    for table in ("tenancy.tenants", "tenancy.reports", f"{schema}.notes"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reported.read(f"SELECT * FROM {table}")


async def test_rights_by_default_are_taken_back(reported: Reported) -> None:
    async with superuser(reported.database.admin_url) as conn:
        await conn.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC, pg_monitor")
    await _create(reported)
    async with superuser(reported.database.superuser_url) as conn:
        acl = await conn.fetchval(
            "SELECT relacl::text FROM pg_class WHERE oid = 'tenancy_reports.notes'::regclass"
        )
    assert f"{reported.reader}=r/" in acl
    assert "{=r" not in acl
    assert ",=r" not in acl
    assert "pg_monitor" not in acl


async def _found(reported: Reported) -> set[str]:
    findings = await doctor.diagnose(reported.settings())
    asked = {"open_report", "outside_view"}
    return {one.id for one in findings if one.level is not doctor.Level.OK} & asked


async def test_whoever_a_request_can_be_is_no_reader(reported: Reported) -> None:
    app = reported.database.app_url.split("//")[1].split(":")[0]
    schema = await reported.schema("acme")
    await reported.run(f"CREATE ROLE {reported.reader}_g; GRANT {reported.reader}_g TO {schema}")
    try:
        for wrong in (app, schema, "nobody_at_all", "PUBLIC", f"{reported.reader}_g"):
            with pytest.raises(InvalidReportError, match=wrong):
                await _create(reported, reader=wrong)
        async with superuser(reported.database.admin_url) as conn:
            await conn.execute(f"REVOKE {schema} FROM {app}")  # no way to the reader any more
        with pytest.raises(InvalidReportError, match="a tenant's role"):
            await _create(reported, reader=f"{reported.reader}_g")
        async with provision.administrator(reported.settings()) as admin:
            await admin.grant()
        await _create(reported)
        assert await _found(reported) == set()
        await reported.run(f"GRANT SELECT ON tenancy_reports.notes TO {reported.reader}_g")
        assert await _found(reported) == {"open_report"}
    finally:
        await reported.run(f"DROP OWNED BY {reported.reader}_g; DROP ROLE {reported.reader}_g")


async def test_a_report_that_cannot_be_made_is_refused_in_words(reported: Reported) -> None:
    await _create(reported)
    for name, table, columns, error in (
        ("notes", "notes", None, ReportExistsError),
        ("Notes", "notes", None, InvalidReportError),
        ("more", "nothing", None, InvalidReportError),
        ("more", "notes", ["nothing"], InvalidReportError),
        ("more", "notes", ["id", "id"], InvalidReportError),
    ):
        async with provision.administrator(reported.settings()) as admin:
            with pytest.raises(error):
                await admin.create_report(name, table, columns=columns)
    async with provision.administrator(reported.database.settings()) as admin:
        with pytest.raises(InvalidReportError, match="TENANCY_REPORTS_ROLE"):
            await admin.create_report("more", "notes")
        with pytest.raises(UnknownReportError):
            await admin.drop_report("more")
        with pytest.raises(UnknownReportError):
            await admin.refresh_reports(["more"])
        assert [report.name for report in await admin.reports()] == ["notes"]


async def test_new_renamed_and_deleted_tenants_are_right_after_a_refresh(
    reported: Reported,
) -> None:
    await reported.note("acme", "a")
    await reported.note("globex", "g")
    await _create(reported)
    async with provision.administrator(reported.settings()) as admin:
        await admin.create("initech")
        await admin.rename("acme", "apex")
        await admin.suspend("globex")
    await reported.note("initech", "i")
    assert await _refresh(reported) == ["notes"]
    assert await reported.bodies() == [("apex", "a"), ("globex", "g"), ("initech", "i")]
    assert await _refresh(reported) == []
    async with provision.administrator(reported.settings()) as admin:
        await admin.delete("globex")
    done = [one async for one in maintenance.once(reported.settings())]
    assert {(one.task, one.count) for one in done} >= {("reports", 1)}
    assert await reported.bodies() == [("apex", "a"), ("initech", "i")]


async def test_a_purge_takes_the_tenant_out_first(reported: Reported) -> None:
    await reported.note("globex", "g")
    await reported.note("acme", "a")
    await _create(reported)
    await _create(reported, "bodies", columns=["body"])
    async with provision.administrator(reported.settings()) as admin:
        for slug, left in (("acme", [("globex", "g")]), ("globex", [])):
            await admin.delete(slug)
            await admin.purge(slug, early=True)
            assert await reported.bodies("bodies") == left
    assert await reported.read("SELECT * FROM tenancy_reports.notes") == []


async def test_dropping_one_leaves_nothing_behind(reported: Reported) -> None:
    await _create(reported)
    await _create(reported, "second")
    async with provision.administrator(reported.settings()) as admin:
        await admin.drop_report("notes")
        assert await reported.bodies("second") == []
        await admin.drop_report("second")
        assert await admin.reports() == ()
    async with superuser(reported.database.superuser_url) as conn:
        assert not await conn.fetchval(
            "SELECT has_schema_privilege($1, 'tenancy_reports', 'USAGE')", reported.reader
        )
        rows = await conn.fetch(
            "SELECT action, outcome, detail ->> 'report' FROM tenancy.audit "
            "WHERE action LIKE '%_report' ORDER BY id"
        )
    steps = [("create_report", "notes"), ("create_report", "second")]
    steps += [("drop_report", "notes"), ("drop_report", "second")]
    assert [(row[0], row[2]) for row in rows] == steps
    assert {row[1] for row in rows} == {"done"}


# Tables that differ


async def test_tables_that_differ_are_shown_as_far_as_they_go(reported: Reported) -> None:
    acme, globex = await reported.schema("acme"), await reported.schema("globex")
    await reported.run(
        f"""
        CREATE TYPE {acme}.mood AS ENUM ('glad'); CREATE TYPE {globex}.mood AS ENUM ('sad');
        CREATE TABLE {acme}."Odd" (id int, size varchar(5), amount int,
                                   "Mixed Case" text COLLATE "POSIX", lonely {acme}.mood,
                                   state {acme}.mood, only_here text COLLATE "C", word text);
        CREATE TABLE {globex}."Odd" (id int, gone int, size varchar(9), amount text,
                                     "Mixed Case" text COLLATE "C", state {globex}.mood,
                                     word varchar);
        ALTER TABLE {globex}."Odd" DROP COLUMN gone;
        INSERT INTO {acme}."Odd" VALUES (1, 'a', 7, 'x', 'glad', 'glad', 'o', 'w');
        INSERT INTO {globex}."Odd" VALUES (1, 'g', 'seven', 'y', 'sad', 'v');
        ALTER TABLE {acme}."Odd" OWNER TO {reported.owner};
        ALTER TABLE {globex}."Odd" OWNER TO
            {reported.owner};
        """
    )
    async with provision.administrator(reported.settings()) as admin:
        await admin.create_report("odd", "Odd")
        await admin.create_report("few", "Odd", columns=["Mixed Case", "only_here"])
    columns = 'id, size, amount, "Mixed Case", state, only_here, word'
    assert await reported.read(f"SELECT {columns} FROM tenancy_reports.odd ORDER BY tenant") == [
        (1, "a", "7", "x", "glad", "o", "w"),
        (1, "g", "seven", "y", "sad", None, "v"),
    ]
    kinds = "SELECT pg_typeof(lonely)::text, pg_typeof(size)::text, pg_typeof(amount)::text"
    assert await reported.read(f"{kinds} FROM tenancy_reports.odd LIMIT 1") == [
        ("text", "character varying", "text")
    ]
    few = await reported.read("SELECT * FROM tenancy_reports.few ORDER BY tenant")
    assert [row[2:] for row in few] == [("x", "o"), ("y", None)]


async def test_columns_called_as_the_reports_own_are_refused(reported: Reported) -> None:
    acme = await reported.schema("acme")
    await reported.run(
        f"CREATE TABLE {acme}.links (id int, tenant_id int); "
        f"ALTER TABLE {acme}.links OWNER TO {reported.owner}"
    )
    async with provision.administrator(reported.settings()) as admin:
        with pytest.raises(InvalidReportError, match=r"tenant_id.*--columns"):
            await admin.create_report("links", "links")
        with pytest.raises(InvalidReportError, match="twice"):
            await admin.create_report("links", "links", columns=["tenant_id"])
        assert (await admin.create_report("links", "links", columns=["id"])).tenants == 1


async def test_a_report_with_more_locks_than_there_is_room_for_is_refused(
    reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with superuser(reported.database.superuser_url) as conn:
        room = await conn.fetchval(
            "SELECT current_setting('max_locks_per_transaction')::int * "
            "(current_setting('max_connections')::int "
            "+ current_setting('max_prepared_transactions')::int)"
        )
    parts = "; ".join(
        f"CREATE TABLE {{0}}.big_{n} PARTITION OF {{0}}.big FOR VALUES IN ({n})" for n in range(40)
    )
    await reported.run(
        f"CREATE TABLE {{0}}.big (id int PRIMARY KEY) PARTITION BY LIST (id); {parts}".format(
            await reported.schema("acme")
        )
    )
    monkeypatch.setattr("tenancy.reports.members.SHARE", room // 82 + 1)
    async with provision.administrator(reported.settings()) as admin:
        with pytest.raises(
            ReportTooLargeError, match=rf"82 locks at once, of {room}.*max_locks_per_transaction"
        ):
            await admin.create_report("big", "big")
        monkeypatch.setattr("tenancy.reports.members.SHARE", room // 82)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):  # the superuser's, and not refused
            await admin.connection.fetch(f"SELECT * FROM {await reported.schema('acme')}.big")


# Migrations


def _files(to: Path, **more: str) -> Path:
    for stage in ("shared", "tenant"):
        shutil.copytree(SQL / stage, to / stage)
    for name, text in more.items():
        (to / "tenant" / f"{name[1:]}.sql").write_text(text)
    return to


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ("ALTER TABLE notes ALTER COLUMN body TYPE varchar(90)", NOTES),
        ("ALTER TABLE notes DROP COLUMN body", ["id", "created_at", "updated_at"]),
        ("ALTER TABLE notes ADD COLUMN tag int", [*NOTES, "tag"]),
        ("DO $$ BEGIN EXECUTE 'DROP TABLE no' || 'tes CASCADE'; END $$", []),
        ("DROP TABLE notes", []),
    ],
)
async def test_the_migrator_takes_reports_aside_and_makes_them_again(
    reported: Reported, tmp_path: Path, change: str, columns: list[str]
) -> None:
    await _create(reported)
    settings = reported.settings(sql_dir=_files(tmp_path, _0002_change=f"{change};\n"))
    await _up(settings)
    async with superuser(reported.database.superuser_url) as conn:
        shown = await conn.fetch(
            "SELECT attname FROM pg_attribute "
            "WHERE attrelid = 'tenancy_reports.notes'::regclass AND attnum > 0 ORDER BY attnum"
        )
    assert {row[0] for row in shown} == {"tenant", "tenant_id", *columns}
    assert await reported.read("SELECT * FROM tenancy_reports.notes") == []


async def test_while_half_are_migrated_the_others_columns_are_null(
    reported: Reported, tmp_path: Path
) -> None:
    await reported.note("acme", "a")
    await reported.note("globex", "g")
    await _create(reported)
    files = _files(tmp_path, _0002_tag="ALTER TABLE notes ADD COLUMN tag int DEFAULT 7;\n")
    settings = reported.settings(sql_dir=files)
    (await migrate.migrate(settings, tenants=["acme"])).raise_for_failures()
    rows = await reported.read("SELECT tenant, tag FROM tenancy_reports.notes ORDER BY 1")
    assert rows == [("acme", 7), ("globex", None)]
    await _up(settings)
    rows = await reported.read("SELECT tenant, tag FROM tenancy_reports.notes ORDER BY 1")
    assert rows == [("acme", 7), ("globex", 7)]


async def test_a_failed_run_makes_them_again_too(reported: Reported, tmp_path: Path) -> None:
    await reported.note("acme", "a")
    await _create(reported)
    files = _files(tmp_path, _0002_no="ALTER TABLE notes DROP COLUMN body; SELECT 1 / 0;\n")
    report = await migrate.migrate(reported.settings(sql_dir=files))
    assert any(result.faulty for result in report.results)
    assert await reported.bodies() == [("acme", "a")]


async def test_one_that_is_aside_says_so_whatever_is_asked(reported: Reported) -> None:
    await reported.note("acme", "a")
    await _create(reported)
    async with provision.administrator(reported.settings()) as admin:
        await _aside(admin)
        (report,) = await admin.reports()
        assert report.aside_at
    for where in ("", "WHERE tenant = 'acme'", "WHERE id = 1", "WHERE body LIKE 'x%' LIMIT 1"):
        with pytest.raises(ASIDE, match="changed"):
            await reported.read(f"SELECT count(*) FROM tenancy_reports.notes {where}")
    assert await _refresh(reported) == ["notes"]
    assert await reported.bodies() == [("acme", "a")]


async def _aside(admin: provision.Administrator) -> None:
    await views.set_aside(admin.connection, "notes")


async def test_nobody_makes_one_again_while_a_run_is_under_way(
    reported: Reported, tmp_path: Path
) -> None:
    await _create(reported)
    settings = reported.settings(sql_dir=_files(tmp_path, _0002_x="ALTER TABLE notes DROP body;"))
    async with provision.administrator(settings) as admin:
        await lock.take_run(admin.connection)
        await _aside(admin)
        assert await _refresh(reported) == []
        with pytest.raises(ASIDE):
            await reported.bodies()
        await admin.connection.execute(lock.UNLOCK)
    await _up(settings)  # as after a run that was killed
    assert await reported.read("SELECT id FROM tenancy_reports.notes") == []


async def test_down_takes_them_aside_too(reported: Reported, tmp_path: Path) -> None:
    text = (
        "-- migrate:up\nALTER TABLE notes ADD COLUMN tag int;\n"
        "-- migrate:down\nALTER TABLE notes DROP COLUMN tag;\n"
    )
    settings = reported.settings(sql_dir=_files(tmp_path, _0002_tag=text))
    await _up(settings)
    await _create(reported)
    await reported.read("SELECT tag FROM tenancy_reports.notes")
    results = await migrate.down(settings, "0001", ["acme", "globex"])
    assert [result.failure for result in results] == [None, None]
    with pytest.raises(asyncpg.UndefinedColumnError):
        await reported.read("SELECT tag FROM tenancy_reports.notes")


async def test_whoever_reads_for_long_is_named_and_nothing_is_applied(
    reported: Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "TRIES", 1)
    await _create(reported)
    settings = reported.settings(sql_dir=_files(tmp_path, _0002_x="ALTER TABLE notes DROP body;"))
    conn = await asyncpg.connect(
        at(reported.database.superuser_url, user=reported.reader),
        server_settings={"application_name": "metabase"},
    )
    async with conn.transaction():
        await conn.fetch("SELECT * FROM tenancy_reports.notes")
        with pytest.raises(ReportInUseError, match="metabase"):
            await migrate.migrate(settings)
        assert await conn.fetch("SELECT body FROM tenancy_reports.notes") == []
    await conn.close()
    await _up(settings)


async def test_a_view_upon_a_report_lives_through_migrations(
    reported: Reported, tmp_path: Path
) -> None:
    await reported.note("acme", "a")
    await _create(reported)
    async with superuser(reported.database.admin_url) as conn:
        await conn.execute("CREATE VIEW tenancy_reports.upon AS TABLE tenancy_reports.notes")
    files = _files(tmp_path, _0002_tag="ALTER TABLE notes ADD COLUMN tag int;\n")
    await _up(reported.settings(sql_dir=files))
    async with superuser(reported.database.admin_url) as conn:
        assert await conn.fetchval("SELECT body FROM tenancy_reports.upon") == "a"
    (files / "tenant" / "0003_drop.sql").write_text("ALTER TABLE notes DROP COLUMN tag;\n")
    await _up(reported.settings(sql_dir=files))
    async with provision.administrator(reported.settings()) as admin:
        with pytest.raises(ReportDependedOnError, match="depends"):
            await admin.refresh_reports()
        with pytest.raises(ReportDependedOnError, match="depends"):
            await admin.drop_report("notes")
    async with superuser(reported.database.admin_url) as conn:
        await conn.execute("DROP VIEW tenancy_reports.upon")
    assert await _refresh(reported) == ["notes"]


async def test_refreshes_at_once_do_each_others_work(reported: Reported) -> None:
    await _create(reported)
    async with provision.administrator(reported.settings()) as admin:
        await admin.create("initech")
    changed = await asyncio.gather(*(_refresh(reported) for _ in range(4)))
    assert sorted(changed) == [[], [], [], ["notes"]]


# The commands


async def test_the_commands_make_list_refresh_and_drop_a_report(reported: Reported) -> None:
    env = environment(reported.settings(), COLUMNS="200")

    async def ask(*words: str) -> list[Any]:
        done = await asyncio.to_thread(CliRunner().invoke, cli, ["reports", *words], env=env)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines() if "--json" in words]

    await reported.note("acme", "a")
    (made,) = await ask("create", "notes", "--table", "notes", "--columns", "id, body", "--json")
    assert made["view"] == "tenancy_reports.notes"
    assert (made["columns"], made["tenants"]) == (["id", "body"], 2)
    assert await ask("list", "--json") == [made]
    assert await ask("refresh", "notes", "--json") == []
    assert await reported.bodies() == [("acme", "a")]
    await ask("list")
    assert await ask("drop", "notes", "--yes", "--json") == [{"dropped": "notes"}]
    for words, code in (
        (["drop", "notes", "--yes"], Exit.USAGE),
        (["drop", "notes"], Exit.USAGE),
        (["create", "x", "--table", "nothing"], Exit.USAGE),
    ):
        done = await asyncio.to_thread(CliRunner().invoke, cli, ["reports", *words], env=env)
        assert done.exit_code == code
