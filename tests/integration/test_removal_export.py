"""A tenant that is exported on its way out: the archive has all, or the tenant stays."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.databases import Database, superuser
from support.processes import environment

from tenancy import portability, provision
from tenancy.commands.tree import cli
from tenancy.errors import (
    ArchiveError,
    DatabaseSetupError,
    NotPortableError,
    PurgeNotDueError,
    SchemaInUseError,
)
from tenancy.portability import removing
from tenancy.provision import maintenance
from tenancy.tenant import State

BODIES = ["first", "second"]


async def _initech(database: Database) -> str:
    async with provision.administrator(database.settings()) as admin:
        schema = (await admin.create("initech", ["notes.initech.example"])).tenant.schema
        for body in BODIES:
            await admin.connection.execute(f"INSERT INTO {schema}.notes (body) VALUES ('{body}')")
    return schema


async def _bodies(database: Database, slug: str) -> list[str]:
    async with superuser(database.superuser_url) as conn:
        schema = await conn.fetchval(
            "SELECT schema_name FROM tenancy.tenants WHERE slug = $1", slug
        )
        return [row[0] for row in await conn.fetch(f"SELECT body FROM {schema}.notes ORDER BY id")]


async def test_what_was_written_before_the_deletion_is_in_the_archive(
    database: Database, tmp_path: Path
) -> None:
    schema = await _initech(database)
    to = tmp_path / "initech.tar.gz"
    async with superuser(database.superuser_url) as conn:
        writing = conn.transaction()
        await writing.start()
        await conn.execute(f"INSERT INTO {schema}.notes (body) VALUES ('under way')")
        deleting = asyncio.create_task(portability.delete(database.settings(), "initech", to))
        async with superuser(database.superuser_url) as other:
            while not await other.fetchval(  # noqa: ASYNC110 - the server sets no event
                "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'"
            ):
                await asyncio.sleep(0.01)
        await writing.commit()
        assert (await deleting).rows == 3
    async with provision.administrator(database.settings()) as admin:
        assert (await admin.show("initech")).tenant.state is State.DELETING
    await portability.import_(database.settings(), to, slug="again", domains=())
    assert await _bodies(database, "again") == [*BODIES, "under way"]


async def test_a_tenant_whose_export_fails_is_not_deleted(
    database: Database, tmp_path: Path
) -> None:
    schema = await _initech(database)
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            f"ALTER TABLE {schema}.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        )
    with pytest.raises(DatabaseSetupError):
        await portability.delete(database.settings(), "initech", tmp_path / "initech")
    async with provision.administrator(database.settings()) as admin:
        assert (await admin.show("initech")).tenant.state is State.ACTIVE


@pytest.mark.parametrize("place", ["taken", "missing/initech"])
async def test_a_wrong_path_takes_no_tenant_out_of_service(
    database: Database, tmp_path: Path, place: str
) -> None:
    await _initech(database)
    (tmp_path / "taken").mkdir()
    with pytest.raises(ArchiveError):
        await portability.delete(database.settings(), "initech", tmp_path / place)
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]
    async with superuser(database.superuser_url) as conn:
        assert not await conn.fetchval("SELECT count(*) FROM tenancy.audit WHERE action = 'delete'")


@pytest.mark.parametrize("by_settings", [False, True])
async def test_maintenance_purges_nothing_that_is_still_to_be_exported(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_settings: bool
) -> None:
    await _initech(database)
    settings = database.settings(deletion_grace_days=0 if by_settings else 30)
    export = portability.export

    async def late(*args: Any, **given: Any) -> portability.Exported:
        async with provision.administrator(settings) as admin:
            assert await maintenance.purge(admin) == 0
        return await export(*args, **given)

    monkeypatch.setattr(removing, "export", late)
    after = None if by_settings else timedelta(0)
    await portability.delete(settings, "initech", tmp_path / "initech", after=after)
    async with provision.administrator(settings) as admin:
        assert await maintenance.purge(admin) == 1
    await portability.import_(settings, tmp_path / "initech", slug="again", domains=())
    assert await _bodies(database, "again") == BODIES


async def test_nothing_is_dropped_before_it_is_exported(database: Database, tmp_path: Path) -> None:
    await _initech(database)
    settings, to = database.settings(), tmp_path / "initech"
    async with provision.administrator(settings) as admin:
        await admin.delete("initech")
        with pytest.raises(PurgeNotDueError):
            await portability.purge(settings, "initech", to)
        assert not to.exists()
        (tmp_path / "taken").mkdir()
        with pytest.raises(ArchiveError):
            await portability.purge(settings, "initech", tmp_path / "taken", early=True)
        assert await _bodies(database, "initech") == BODIES
        await portability.purge(settings, "initech", to, early=True)
        assert [one.tenant.slug for one in await admin.list()] == ["acme", "globex"]
        await portability.import_(settings, to)
        assert await _bodies(database, "initech") == BODIES
        assert (await admin.show("initech")).domains == ("notes.initech.example",)


async def test_what_is_left_of_a_half_purged_tenant_is_not_exported(
    database: Database, tmp_path: Path
) -> None:
    schema = await _initech(database)
    async with provision.administrator(database.settings()) as admin:
        await admin.delete("initech")
        async with superuser(database.superuser_url) as conn, conn.transaction():
            await conn.execute(f"SELECT FROM {schema}.notes")
            with pytest.raises(SchemaInUseError):
                await admin.purge("initech", early=True, wait_seconds=0)
    with pytest.raises(NotPortableError, match="being purged"):
        await portability.purge(database.settings(), "initech", tmp_path / "x", early=True)
    assert not (tmp_path / "x").exists()


async def test_the_commands_export_on_the_way(database: Database, tmp_path: Path) -> None:
    await _initech(database)
    env = environment(database.settings())
    runner = CliRunner()
    for arguments in (
        ("delete", "initech", "--export", str(tmp_path / "one")),
        ("purge", "initech", "--early", "--export", str(tmp_path / "two.tar.gz")),
    ):
        command = ("tenants", *arguments, "--yes", "--json")
        done = await asyncio.to_thread(runner.invoke, cli, command, env=env)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["slug"] == "initech"
    assert (tmp_path / "one").is_dir()
    assert (tmp_path / "two.tar.gz").is_file()
    async with provision.administrator(database.settings()) as admin:
        assert [one.tenant.slug for one in await admin.list()] == ["acme", "globex"]
