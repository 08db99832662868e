"""A tenant taken along is the same tenant: to a file and back, and under another name."""

import asyncio
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner
from support import peculiar
from support.databases import (
    Database,
    drop_database,
    drop_logins,
    make_database,
    make_logins,
    superuser,
)
from support.likeness import content
from support.processes import Result, environment

from tenancy import Tenancy, migrate, portability, provision
from tenancy.commands.tree import cli
from tenancy.errors import (
    ArchiveError,
    DomainTakenError,
    MigrationError,
    MigrationRefusedError,
    NotPortableError,
    SlugTakenError,
    UnknownTenantError,
)
from tenancy.exits import Exit
from tenancy.settings import Settings
from tenancy.tenant import State


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)


async def filled(settings: Settings, slug: str = "acme") -> provision.Profile:
    """A tenant with the peculiar rows, the database brought up for it."""
    (await migrate.migrate(settings)).raise_for_failures()
    async with provision.administrator(settings) as admin:
        profile = await admin.create(slug, [f"notes.{slug}.example"])
        conn = admin.connection
        async with conn.transaction():
            await conn.execute(f"SET LOCAL search_path = {profile.tenant.schema}, shared, pg_temp")
            await conn.execute(peculiar.ROWS)
    return profile


@pytest.fixture
def peculiar_sql(tmp_path: Path) -> Path:
    write(tmp_path / "sql", peculiar.FILES)
    return tmp_path / "sql"


async def _content(database: Database, schema: str) -> dict[str, list[str]]:
    async with superuser(database.superuser_url) as conn:
        return await content(conn, schema)


async def _fingerprint(database: Database, schema: str) -> str:
    async with superuser(database.superuser_url) as conn:
        return str(
            await conn.fetchval(
                "SELECT tenancy.fingerprint(oid) FROM pg_namespace WHERE nspname = $1", schema
            )
        )


@pytest.mark.parametrize("name", ["acme", "acme.tar.gz"])
async def test_a_round_trip_loses_nothing(
    empty_database: Database, peculiar_sql: Path, tmp_path: Path, name: str
) -> None:
    settings = empty_database.settings(sql_dir=peculiar_sql)
    before = await filled(settings)
    exported = await portability.export(settings, "acme", tmp_path / name)
    imported = await portability.import_(settings, tmp_path / name, slug="other")
    after = imported.profile
    assert after.tenant.schema != before.tenant.schema
    assert after.tenant.id != before.tenant.id
    assert after.tenant.version == "0002"
    assert exported.rows == imported.rows
    there = await _content(empty_database, before.tenant.schema)
    assert await _content(empty_database, after.tenant.schema) == there
    assert sum(map(len, there.values())) > 3000
    shapes = [await _fingerprint(empty_database, p.tenant.schema) for p in (before, after)]
    assert shapes[0] == shapes[1]
    assert (await migrate.verify(settings)).exit_code == 0


async def _asked(settings: Settings, *arguments: str) -> Result:
    env = environment(settings, COLUMNS="200")
    done = await asyncio.to_thread(CliRunner().invoke, cli, ["tenants", *arguments], env=env)
    return Result(done.exit_code, done.stdout, done.stderr)


async def test_the_commands_take_a_tenant_along(database: Database, tmp_path: Path) -> None:
    settings = database.settings()
    await _asked(settings, "export", "acme", str(tmp_path / "acme"))
    done = await _asked(settings, "export", "acme", str(tmp_path / "a.tgz"), "--json")
    assert json.loads(done.out)["tables"] == 1
    done = await _asked(settings, "import", str(tmp_path / "a.tgz"), "--slug", "other", "--json")
    assert json.loads(done.out)["slug"] == "other"
    done = await _asked(settings, "import", str(tmp_path / "acme"), "--slug", "third")
    assert done.out.startswith("third is a tenant: ")
    refused = await _asked(settings, "import", str(tmp_path / "acme"))
    assert (refused.code, refused.out) == (Exit.REFUSED, "")
    assert "has the slug 'acme'" in refused.err


async def test_sha256sum_checks_an_export(database: Database, tmp_path: Path) -> None:
    await portability.export(database.settings(), "acme", tmp_path / "acme")
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    done = await asyncio.to_thread(subprocess.run, check, cwd=tmp_path / "acme", check=False)
    assert done.returncode == 0
    files = [path for path in (tmp_path / "acme").rglob("*") if path.is_file()]
    assert len(files) == 7
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("manifest.json", "manifest.json is damaged"),
        ("structure/before.sql", "before.sql is damaged"),
        ("structure/after.sql", "after.sql is damaged"),
        ("rows/0001.copy", "0001.copy is damaged"),
    ],
)
async def test_a_damaged_export_makes_nothing(
    database: Database, tmp_path: Path, name: str, words: str
) -> None:
    settings = database.settings()
    await _write_notes(settings, "acme", 3)
    await portability.export(settings, "acme", tmp_path / "acme")
    path = tmp_path / "acme" / name
    path.write_bytes(path.read_bytes().replace(b"note", b"nope", 1))
    with pytest.raises(ArchiveError, match=words):
        await portability.import_(settings, tmp_path / "acme", slug="other")
    async with provision.administrator(settings) as admin:
        assert [one.tenant.slug for one in await admin.list()] == ["acme", "globex"]


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("before", "DROP SCHEMA {other} CASCADE"),
        ("before", "COMMIT"),
        ("before", "CREATE VIEW stolen AS SELECT * FROM {other}.notes"),
        (
            "before",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DELETE FROM tenancy.tenants'",
        ),
        ("before", "CREATE TABLE {other}.planted ()"),
        ("after", "ALTER TABLE {other}.notes ADD COLUMN planted int"),
        ("after", "ALTER TABLE notes SET SCHEMA {other}"),
        ("after", "UPDATE tenancy.tenants SET state = 'suspended'"),
        ("after", "DO $$ BEGIN UPDATE tenancy.tenants SET state = 'suspended'; END $$"),
        ("after", "SELECT 1"),
        ("rights", "GRANT USAGE ON SCHEMA {other} TO PUBLIC"),
        ("rights", "GRANT SELECT ON TABLE notes, {other}.notes TO PUBLIC"),
        ("rights", 'GRANT SELECT ON TABLE "notes", {other}."notes" TO PUBLIC'),
        ("rights", "GRANT {other} TO PUBLIC"),
        ("rights", "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC"),
        ("rights", "ALTER TABLE {other}.notes OWNER TO CURRENT_USER"),
    ],
)
async def test_an_export_that_was_edited_with_its_sums_touches_nobody(
    database: Database, tmp_path: Path, name: str, statement: str
) -> None:
    settings = database.settings()
    await portability.export(settings, "acme", tmp_path / "acme")
    async with provision.administrator(settings) as admin:
        before = await admin.list()
        shape = await _fingerprint(database, before[1].tenant.schema)
        other = before[1].tenant.schema
        _edit(tmp_path / "acme", f"structure/{name}.sql", f"{statement.format(other=other)};\n")
        with pytest.raises(ArchiveError, match="no export writes"):
            await portability.import_(settings, tmp_path / "acme", slug="copy")
        assert await admin.list() == before
        assert await _fingerprint(database, other) == shape


def _edit(export: Path, name: str, more: str) -> None:
    """Add to a file of *export*, and to all that vouches for it."""
    (export / name).write_text((export / name).read_text() + more)
    manifest = json.loads((export / "manifest.json").read_text())
    for file in (*manifest["structure"], manifest["rights"]):
        file["sha256"] = hashlib.sha256((export / file["name"]).read_bytes()).hexdigest()
    (export / "manifest.json").write_text(json.dumps(manifest))
    digest = hashlib.sha256((export / "manifest.json").read_bytes()).hexdigest()
    (export / "SHA256SUMS").write_text(f"{digest}  manifest.json\n")


async def test_an_edited_export_takes_no_address_that_no_tenant_can_have(
    database: Database, tmp_path: Path
) -> None:
    settings = database.settings()
    await portability.export(settings, "acme", tmp_path / "acme")
    path = tmp_path / "acme" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["portrait"]["tenant"]["former_slugs"] = ["www", "a.b", "", "Upper", "older"]
    path.write_text(json.dumps(manifest))
    _edit(tmp_path / "acme", "structure/before.sql", "")
    async with provision.administrator(settings) as admin:
        await admin.delete("acme", after=timedelta(0))
        await admin.purge("acme")
    imported = await portability.import_(settings, tmp_path / "acme")
    assert imported.profile.former_slugs == ("older",)


async def test_what_is_no_export_is_said_to_be_none(database: Database, tmp_path: Path) -> None:
    settings = database.settings()
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar.gz").write_text("no archive")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as tar:
        tar.add(__file__, "../../escaped.py")
    await portability.export(settings, "acme", tmp_path / "whole.tar.gz")
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "part.tar.gz").write_bytes(whole[: len(whole) // 2])
    for name in ("empty", "text.tar.gz", "other.tar.gz", "part.tar.gz"):
        with pytest.raises(ArchiveError, match=name):
            await portability.import_(settings, tmp_path / name)
    assert not list(tmp_path.parent.rglob("escaped.py"))


async def test_an_export_that_would_fill_the_disk_is_not_unpacked(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb, temporary = tmp_path / "bomb.tar.gz", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    free = shutil.disk_usage(temporary).free
    with tarfile.open(bomb, "w:gz") as tar:
        member = tarfile.TarInfo("rows/0001.copy")
        member.size = free  # and nothing of it is there: it is to be refused before it is read
        tar.fileobj.write(member.tobuf())
    with pytest.raises(ArchiveError, match="no room in"):
        await portability.import_(database.settings(), bomb)
    assert not list(temporary.iterdir())


async def test_nothing_is_overwritten_and_nothing_left_half(
    database: Database, tmp_path: Path
) -> None:
    settings = database.settings()
    for name in ("there", "there.tar.gz"):
        (tmp_path / name).mkdir()
        with pytest.raises(ArchiveError, match="there already"):
            await portability.export(settings, "acme", tmp_path / name)
    with pytest.raises(UnknownTenantError):
        await portability.export(settings, "nobody", tmp_path / "nobody")
    with pytest.raises(ArchiveError, match="cannot be written"):
        await portability.export(settings, "acme", tmp_path / "no" / "such" / "place")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there", "there.tar.gz"]
    with pytest.raises(ArchiveError, match="there already"):
        await portability.export(settings, "acme", tmp_path / "there")


async def _write_notes(settings: Settings, slug: str, count: int) -> None:
    async with Tenancy(settings=settings) as tenancy:
        async with tenancy.transaction(slug) as conn:
            await conn.execute(
                "INSERT INTO notes (body) SELECT 'note ' || generate_series(1, $1::int)",
                count,
            )


async def test_the_copy_is_served_with_the_rights_of_any_tenant(
    database: Database, tmp_path: Path
) -> None:
    settings = database.settings()
    await _write_notes(settings, "acme", 3)
    await portability.export(settings, "acme", tmp_path / "acme")
    await portability.import_(settings, tmp_path / "acme", slug="other")
    await _write_notes(settings, "other", 2)
    async with Tenancy(settings=settings) as tenancy:
        async with tenancy.transaction("other") as conn:
            assert await conn.fetchval("SELECT max(id) FROM notes") == 5
        async with tenancy.transaction("acme") as conn:
            assert await conn.fetchval("SELECT max(id) FROM notes") == 3


@pytest.mark.parametrize("isolations", [("schema", "role"), ("role", "schema")])
async def test_it_comes_to_a_database_of_another_level_and_other_logins(
    database: Database,
    tmp_path: Path,
    server_url: str,
    isolations: tuple[str, str],
) -> None:
    settings = database.settings(isolation=isolations[0])
    async with provision.administrator(settings) as admin:
        await admin.create("initech")
    await _write_notes(settings, "initech", 3)
    await portability.export(settings, "initech", tmp_path / "initech")
    others = await make_logins(server_url)
    elsewhere = await make_database(server_url, others)
    try:
        there = elsewhere.settings(isolation=isolations[1])
        (await migrate.migrate(there)).raise_for_failures()
        done = await portability.import_(there, tmp_path / "initech")
        assert done.rows == 3
        await _write_notes(there, "initech", 1)
        assert (await migrate.verify(there)).exit_code == 0
    finally:
        await drop_database(server_url, elsewhere)
        await drop_logins(server_url, others)


async def test_a_clone_is_alike_and_apart(empty_database: Database, peculiar_sql: Path) -> None:
    settings = empty_database.settings(sql_dir=peculiar_sql)
    before = await filled(settings)
    made = await portability.clone(settings, "acme", "other", domains=["other.example"])
    after = made.profile
    assert (after.domains, made.pending) == (("other.example",), 0)
    there = await _content(empty_database, before.tenant.schema)
    assert await _content(empty_database, after.tenant.schema) == there
    made = await portability.clone(settings, "acme", "bare", data=False)
    bare = await _content(empty_database, made.profile.tenant.schema)
    assert made.rows == 0
    assert bare["tree"] == bare["parts"] == []
    assert bare["counted"] == ["(0,)"]
    assert bare["tree_id_seq"] == ["(1, False)"]
    assert bare["loose"] == ["(500, False)"]
    assert (await migrate.verify(settings)).exit_code == 0


ANONYMISE = """
UPDATE tree SET name = 'n' || id || '.';
DELETE FROM logged;
"""


async def test_a_clone_is_anonymised_before_anybody_sees_it(
    empty_database: Database, peculiar_sql: Path, tmp_path: Path
) -> None:
    settings = empty_database.settings(sql_dir=peculiar_sql)
    before = await filled(settings)
    file = tmp_path / "anonymise.sql"
    file.write_text(ANONYMISE)
    done = await _asked(settings, "clone", "acme", "other", "--anonymise", str(file), "--json")
    found = await _content(empty_database, json.loads(done.out)["schema"])
    assert found["counted"] == ["(4,n9.)"]
    assert found["logged"] == []
    assert sorted(found["tops"]) == sorted(f"({n},n{n}.,{k})" for n, k in KINDS)
    async with superuser(empty_database.superuser_url) as conn:
        rows = await conn.fetch(
            "SELECT slug, outcome, detail ->> 'anonymised' = $1 FROM tenancy.audit "
            "WHERE action = 'clone' ORDER BY slug",
            hashlib.sha256(ANONYMISE.encode()).hexdigest(),
        )
    assert [tuple(row) for row in rows] == [("acme", "done", True), ("other", "done", True)]
    assert (await _content(empty_database, before.tenant.schema))["counted"] == ["(4,x)"]


KINDS = [(n, kind) for n in (1, 10) for kind in ("fancy", "plain")]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE notes SET body = 'x';\nCOMMIT;", "begins and ends the transactions"),
        ("UPDATE tenancy.tenants SET slug = 'x';", "outside of the tenant's"),
        ("UPDATE notes SET body = 'x';\nUPDATE nowhere SET a = 1;", r"file\.sql:2:8.*42P01"),
        ("CREATE INDEX CONCURRENTLY i ON notes (body);", "without a transaction"),
        ("DO $$ BEGIN PERFORM set_config('search_path', 'public', true); END $$;", "search_path"),
    ],
)
async def test_a_file_that_fails_to_anonymise_leaves_no_copy(
    database: Database, tmp_path: Path, sql: str, words: str
) -> None:
    settings = database.settings()
    (tmp_path / "file.sql").write_text(sql)
    with pytest.raises(MigrationError, match=words):
        await portability.clone(settings, "acme", "other", anonymise=tmp_path / "file.sql")
    async with provision.administrator(settings) as admin:
        assert [one.tenant.slug for one in await admin.list()] == ["acme", "globex"]


async def _purged(settings: Settings, slug: str) -> None:
    async with provision.administrator(settings) as admin:
        await admin.delete(slug)
        await admin.purge(slug, early=True)


async def test_under_its_slug_it_is_the_same_tenant_again(
    database: Database, tmp_path: Path
) -> None:
    settings = database.settings()
    async with provision.administrator(settings) as admin:
        await admin.create("first", ["b.first.example", "a.first.example"])
        await admin.rename("first", "initech")
        await admin.limit("initech", {"max_connections": 3})
        before = await admin.make_read_only("initech")
    await portability.export(settings, "initech", tmp_path / "initech")
    with pytest.raises(SlugTakenError):
        await portability.import_(settings, tmp_path / "initech")
    await _purged(settings, "initech")
    after = (await portability.import_(settings, tmp_path / "initech")).profile
    assert (after.tenant.id, after.tenant.state) == (before.tenant.id, before.tenant.state)
    assert after.tenant.limits == before.tenant.limits
    assert (after.domains, after.created_at) == (before.domains, before.created_at)
    async with superuser(database.superuser_url) as conn:
        former = await conn.fetchval(
            "SELECT former_slugs FROM tenancy.tenants WHERE slug = 'initech'"
        )
        history = await conn.fetch(
            "SELECT action, outcome FROM tenancy.audit WHERE slug = 'initech' "
            "AND action IN ('export', 'import') ORDER BY id"
        )
    assert former == ["first"]
    assert [tuple(row) for row in history] == [
        ("export", "begun"),
        ("export", "done"),
        ("import", "refused"),
        ("import", "done"),
    ]


async def test_under_a_new_slug_it_takes_no_name_of_the_old_one(
    database: Database, tmp_path: Path
) -> None:
    settings = database.settings()
    async with provision.administrator(settings) as admin:
        await admin.create("initech", ["initech.example"])
    await portability.export(settings, "initech", tmp_path / "initech")
    made = await portability.import_(settings, tmp_path / "initech", slug="copy")
    assert made.profile.domains == ()
    with pytest.raises(DomainTakenError):
        await portability.import_(
            settings, tmp_path / "initech", slug="other", domains=["initech.example"]
        )
    async with provision.administrator(settings) as admin:
        await admin.rename("initech", "renamed", redirect=False)
    with pytest.raises(SlugTakenError, match="a slug of its own"):
        await portability.import_(settings, tmp_path / "initech")


async def test_a_deleted_tenant_is_exported_and_comes_back_as_it_was(
    database: Database, tmp_path: Path
) -> None:
    settings = database.settings()
    async with provision.administrator(settings) as admin:
        await admin.delete("acme")
    await portability.export(settings, "acme", tmp_path / "acme")
    async with provision.administrator(settings) as admin:
        await admin.purge("acme", early=True)
    made = await portability.import_(settings, tmp_path / "acme")
    assert made.profile.tenant.state is State.ACTIVE


async def test_an_older_tenant_is_brought_up_and_a_newer_one_refused(
    empty_database: Database, peculiar_sql: Path, tmp_path: Path
) -> None:
    settings = empty_database.settings(sql_dir=peculiar_sql)
    newest = peculiar_sql / "tenant" / "0002_more.sql"
    text = newest.read_text()
    newest.unlink()
    (await migrate.migrate(settings)).raise_for_failures()
    async with provision.administrator(settings) as admin:
        await admin.create("acme")
    await portability.export(settings, "acme", tmp_path / "old")
    newest.write_text(text)
    made = await portability.import_(settings, tmp_path / "old", slug="other")
    assert (made.pending, made.profile.tenant.version) == (1, "0001")
    (await migrate.migrate(settings)).raise_for_failures()
    assert (await migrate.verify(settings)).exit_code == 0
    await portability.export(settings, "other", tmp_path / "new")
    newest.unlink()
    with pytest.raises(MigrationRefusedError, match="newer"):
        await portability.import_(settings, tmp_path / "new", slug="third")
    first = peculiar_sql / "tenant" / "0001_first.sql"
    first.write_text(first.read_text() + "SELECT 1;")
    with pytest.raises(MigrationRefusedError, match="0001_first"):
        await portability.import_(settings, tmp_path / "old", slug="third")


async def test_a_tenant_in_the_middle_of_a_file_is_not_exported(
    database: Database, tmp_path: Path
) -> None:
    settings = database.settings()
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            "INSERT INTO tenancy.backfills (schema_oid, version, name, schema_name, columns) "
            "SELECT n.oid, '0002', 'b', t.schema_name, '{}' FROM tenancy.tenants t "
            "JOIN pg_namespace n ON n.nspname = t.schema_name WHERE slug = 'acme'"
        )
    with pytest.raises(MigrationRefusedError, match="in the middle of the file 0002"):
        await portability.export(settings, "acme", tmp_path / "acme")
    assert not list(tmp_path.iterdir())


async def test_an_export_is_of_one_moment(database: Database, tmp_path: Path) -> None:
    """Whoever writes two tables in one transaction is in both, or in none."""
    settings = database.settings()
    schema = (await _write_and_find(settings)).tenant.schema
    async with (
        superuser(database.superuser_url) as conn,
        superuser(database.superuser_url) as blocker,
    ):
        await conn.execute(f"CREATE TABLE {schema}.zebra (LIKE {schema}.notes INCLUDING DEFAULTS)")
        await conn.execute(f"ALTER TABLE {schema}.zebra OWNER TO {await _owner(conn, schema)}")
        async with blocker.transaction():
            await blocker.execute(f"LOCK TABLE {schema}.zebra IN ACCESS EXCLUSIVE MODE")
            task = asyncio.create_task(portability.export(settings, "acme", tmp_path / "acme"))
            async with asyncio.timeout(30):
                while not await conn.fetchval(  # noqa: ASYNC110 - the server sets no event
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass",
                    f"{schema}.zebra",
                ):
                    await asyncio.sleep(0.01)
            await blocker.execute(f"INSERT INTO {schema}.zebra (id, body) VALUES (1, 'late')")
            await blocker.execute(f"INSERT INTO {schema}.notes (body) VALUES ('late')")
        done = await task
    assert done.rows == 3


async def _write_and_find(settings: Settings) -> provision.Profile:
    await _write_notes(settings, "acme", 3)
    async with provision.administrator(settings) as admin:
        return await admin.show("acme")


async def _owner(conn: asyncpg.Connection, schema: str) -> str:
    return str(
        await conn.fetchval("SELECT nspowner::regrole FROM pg_namespace WHERE nspname = $1", schema)
    )


async def test_what_a_hook_refuses_is_not_exported(database: Database, tmp_path: Path) -> None:
    hooks = provision.Hooks()

    @hooks.before(provision.Step.EXPORT)
    async def refuse(event: provision.Event) -> None:
        raise ArchiveError(f"{event.slug} is not to be taken along")

    with pytest.raises(ArchiveError, match="not to be taken along"):
        await portability.export(database.settings(), "acme", tmp_path / "acme", hooks=hooks)
    assert not list(tmp_path.iterdir())


def _forge(folder: Path, name: str, old: str, new: str) -> None:
    """Edit a file of an export, and all that tells of it."""
    text = (folder / name).read_text()
    assert old in text
    before = hashlib.sha256(text.encode()).hexdigest()
    (folder / name).write_text(text.replace(old, new, 1))
    after = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    tellers = ["manifest.json", "SHA256SUMS"]
    told = tellers[tellers.index(name) + 1 :] if name in tellers else tellers
    for teller in told:
        _forge(folder, teller, before, after)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("structure/before.sql", "text NOT NULL", "text"), r"not what was there.*notes\.body"),
        (("rows/0001.copy", "\n", ""), "does not fit|3 rows were to come, and 2 came"),
        (("manifest.json", '"rows": 3', '"rows": 4'), "4 rows were to come, and 3 came"),
    ],
)
async def test_what_comes_out_different_makes_nothing(
    database: Database, tmp_path: Path, change: tuple[str, str, str], words: str
) -> None:
    settings = database.settings()
    await _write_notes(settings, "acme", 3)
    await portability.export(settings, "acme", tmp_path / "acme")
    _forge(tmp_path / "acme", *change)
    with pytest.raises(NotPortableError, match=words):
        await portability.import_(settings, tmp_path / "acme", slug="other")
    async with provision.administrator(settings) as admin:
        assert [one.tenant.slug for one in await admin.list()] == ["acme", "globex"]
