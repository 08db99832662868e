"""What a process does about pending migrations before it serves: nothing, wait, or apply them."""

import asyncio
import logging
import shutil
from pathlib import Path

import asyncpg
import pytest
from support.databases import SQL, Database

from tenancy import Settings, Tenancy, migrate
from tenancy import startup as startup_module
from tenancy.errors import DatabaseSetupError, MigrationError, MigrationsPendingError
from tenancy.settings import AtStart


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup_module, "POLL_SECONDS", 0.02)


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    shutil.copytree(SQL, tmp_path / "sql")
    return tmp_path / "sql"


@pytest.fixture
def behind(database: Database, sql: Path) -> Settings:
    """A deployment whose two tenants are one file behind, and which waits."""
    (sql / "tenant" / "0002_pinned.sql").write_text("ALTER TABLE notes ADD pinned boolean;")
    return database.settings(sql_dir=sql, migrations=AtStart.WAIT)


async def _versions(database: Database) -> set[str]:
    conn = await asyncpg.connect(database.admin_url)
    try:
        rows = await conn.fetch("SELECT version FROM tenancy.checkpoints WHERE stage = 'tenant'")
    finally:
        await conn.close()
    return {row["version"] for row in rows}


async def _serves(settings: Settings) -> None:
    async with Tenancy(settings=settings) as tenancy, tenancy.transaction("acme") as conn:
        await conn.fetchval("SELECT count(*) FROM notes")


async def test_by_default_a_process_serves_and_leaves_migrations_alone(
    database: Database, behind: Settings
) -> None:
    await _serves(behind.model_copy(update={"migrations": AtStart.NONE}))
    assert await _versions(database) == {"0001"}


async def test_a_process_waits_until_a_run_has_brought_everybody_up(
    database: Database, behind: Settings
) -> None:
    starting = asyncio.create_task(_serves(behind))
    await asyncio.sleep(0.3)
    assert not starting.done()
    assert await _versions(database) == {"0001"}  # it waits, and does nothing itself
    (await migrate.migrate(behind)).raise_for_failures()
    async with asyncio.timeout(10):
        await starting


async def test_nothing_is_waited_for_where_a_newer_build_was(behind: Settings, sql: Path) -> None:
    (await migrate.migrate(behind)).raise_for_failures()
    (sql / "tenant" / "0002_pinned.sql").unlink()
    await _serves(behind)


async def test_a_tenant_that_cannot_be_migrated_holds_nobody_up_for_ever(
    behind: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = behind.model_copy(update={"migrations_wait_seconds": 0.2})
    with caplog.at_level(logging.WARNING):
        await _serves(settings)
    assert "2 tenants: serving without having waited for them any longer" in caplog.text


async def test_a_suspended_tenant_is_not_waited_for(database: Database, behind: Settings) -> None:
    await migrate.migrate(behind, tenants=["acme"])
    conn = await asyncpg.connect(database.admin_url)
    await conn.execute("UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'globex'")
    await conn.close()
    await _serves(behind)


async def test_without_a_catalog_the_wait_ends_with_what_to_run(empty_database: Database) -> None:
    settings = empty_database.settings(migrations=AtStart.WAIT, migrations_wait_seconds=0.2)
    with pytest.raises(MigrationsPendingError, match=r"tenancy, shared.*python -m tenancy.migrate"):
        await Tenancy(settings=settings).start()


async def test_a_pending_file_of_the_shared_schema_ends_it_likewise(
    behind: Settings, sql: Path
) -> None:
    (sql / "shared" / "0002_more.sql").write_text("CREATE TABLE more (id int);")
    settings = behind.model_copy(update={"migrations_wait_seconds": 0.2})
    with pytest.raises(MigrationsPendingError, match="shared, 2 tenants"):
        await Tenancy(settings=settings).start()


async def test_what_the_login_may_not_read_is_told_as_such(
    database: Database, behind: Settings
) -> None:
    conn = await asyncpg.connect(database.admin_url)
    await conn.execute(f"REVOKE SELECT ON tenancy.checkpoints FROM {_login(database)}")
    await conn.close()
    with pytest.raises(DatabaseSetupError, match="tenants grant"):
        await Tenancy(settings=behind).start()


def _login(database: Database) -> str:
    return database.app_url.split("//")[1].split(":")[0]


async def test_of_several_processes_told_to_apply_one_does_and_the_others_wait(
    database: Database, behind: Settings
) -> None:
    settings = behind.model_copy(update={"migrations": AtStart.APPLY})
    async with asyncio.timeout(30):
        await asyncio.gather(*(_serves(settings) for _ in range(3)))
    assert await _versions(database) == {"0002"}


async def test_a_tenant_that_fails_to_be_applied_stops_no_start(
    behind: Settings, sql: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (sql / "tenant" / "0003_wrong.sql").write_text("SELECT 1 / 0;")
    await _serves(behind.model_copy(update={"migrations": AtStart.APPLY}))
    assert "2 tenants could not be migrated" in caplog.text


async def test_a_shared_schema_that_fails_to_be_applied_stops_it(
    behind: Settings, sql: Path
) -> None:
    (sql / "shared" / "0002_wrong.sql").write_text("SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"shared/0002_wrong\.sql"):
        await _serves(behind.model_copy(update={"migrations": AtStart.APPLY}))
