"""Two workers of hypercorn hear of a change; with times to live of an hour only NOTIFY explains it.

The times are printed: what is promised is less than a second.
"""

import asyncio
from pathlib import Path

import pytest
from support.changes import execute
from support.databases import Database
from support.workers import seen, served

from tenancy import migrate

pytestmark = pytest.mark.timeout(180)


async def test_every_worker_hears_of_a_change(database: Database) -> None:
    acme = "acme.example.com"
    async with served(database) as workers:
        await seen(workers, acme, 200, "served")
        await execute(
            database, "UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'acme'"
        )
        await seen(workers, acme, 403, "suspended")
        await execute(
            database,
            "UPDATE tenancy.tenants SET state = 'active', slug = 'new' WHERE slug = 'acme'",
        )
        await seen(workers, "new.example.com", 200, "new slug")
        await seen(workers, acme, 404, "old slug")
        await execute(
            database,
            "INSERT INTO tenancy.domains (name, tenant_id, verified_at) "
            "SELECT 'new.test', id, now() FROM tenancy.tenants WHERE slug = 'new'",
        )
        await seen(workers, "new.test", 200, "domain")
        await execute(database, "DELETE FROM tenancy.domains")
        await seen(workers, "new.test", 421, "domain removed")


async def test_workers_serve_a_tenant_when_it_has_been_migrated(
    database: Database, tmp_path: Path
) -> None:
    """The version gate: 503 until the live migration has run, and no restart."""
    sql = tmp_path / "sql"
    for file in sorted((Path(__file__).parents[2] / "sql").glob("*/*.sql")):
        if file.parent.name != "catalog":
            (sql / file.parent.name).mkdir(parents=True, exist_ok=True)
            (sql / file.parent.name / file.name).write_text(file.read_text())
    newest = max(file.name[:4] for file in (sql / "tenant").iterdir())
    following = f"{int(newest) + 1:04}"
    (sql / "tenant" / f"{following}_pinned.sql").write_text("ALTER TABLE notes ADD pinned bool;")
    new = database.settings(sql_dir=sql)
    (await migrate.migrate(new, tenants=("globex",))).raise_for_failures()
    async with served(database, versions=f">={following}") as workers:
        for worker in workers:
            status, headers, body = await worker.get("acme.example.com")
            assert (status, body["code"]) == (503, "tenant_version")
            assert int(headers["retry-after"]) > 0
            assert "acme" not in str(body)
        (await migrate.migrate(new)).raise_for_failures()
        await seen(workers, "acme.example.com", 200, "migrated")


async def test_the_listener_is_why(database: Database) -> None:
    """Without it nobody sees the change: the tests above could fail."""
    async with served(database, registry_listen=False) as workers:
        await execute(
            database, "UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'globex'"
        )
        await asyncio.sleep(1)
        for worker in workers:
            assert (await worker.get("globex.example.com"))[0] == 200
