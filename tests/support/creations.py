"""What the tests of making tenants share."""

import asyncio
import shutil
from pathlib import Path

from support.databases import SQL, Database, superuser
from tenancy import provision
from tenancy.provision import Profile
from tenancy.settings import Settings

# Files that cannot be in one transaction: the second fails in that of the first, as one does before
# PostgreSQL 17 that uses an enum's value which the first has added.
APART = {
    "0002_first.sql": "CREATE TABLE begun AS SELECT now() AS at;\n",
    "0003_second.sql": "DO $$ BEGIN IF EXISTS (SELECT FROM begun WHERE at = now()) THEN\n"
    "RAISE EXCEPTION 'unsafe use' USING ERRCODE = '55P04'; END IF; END $$;\n",
}

_EVERYTHING = """
    SELECT 'tenant', slug FROM tenancy.tenants
    UNION SELECT 'domain', name FROM tenancy.domains
    UNION SELECT 'schema', nspname FROM pg_namespace
        WHERE nspname LIKE 't\\_%' OR nspname LIKE 'tenancy\\_scratch\\_%'
    UNION SELECT 'ledger', schema_name || ' ' || version FROM tenancy.migrations
    UNION SELECT 'checkpoint', schema_name || ' ' || digest FROM tenancy.checkpoints
    UNION SELECT 'ready', schema_name FROM tenancy.ready_schemas
    UNION SELECT 'key', key || ' ' || coalesce(tenant_id::text, '') FROM tenancy.idempotency_keys
    UNION SELECT 'role', rolname FROM pg_roles WHERE rolname LIKE 't\\_%'
    UNION SELECT 'member', r.rolname || ' ' || l.rolname FROM pg_auth_members AS m
        JOIN pg_roles AS r ON r.oid = m.roleid JOIN pg_roles AS l ON l.oid = m.member
        WHERE r.rolname LIKE 't\\_%'
"""


async def everything(database: Database) -> set[tuple[str, ...]]:
    """All that making a tenant leaves in the database, but for the audit."""
    async with superuser(database.superuser_url) as conn:
        return {tuple(row) for row in await conn.fetch(_EVERYTHING)}


async def audited(database: Database) -> list[tuple[str, str, str]]:
    """Action, slug and outcome of each row of the audit, the last one first."""
    async with superuser(database.superuser_url) as conn:
        rows = await conn.fetch("SELECT action, slug, outcome FROM tenancy.audit ORDER BY id DESC")
        return [tuple(row) for row in rows]


def with_files(to: Path, files: dict[str, str]) -> Path:
    """Copy the demo's sql directory to *to*, and add tenants' *files*; return it."""
    for stage in ("shared", "tenant"):
        shutil.copytree(SQL / stage, to / stage, dirs_exist_ok=True)
    for name, text in files.items():
        (to / "tenant" / name).write_text(text)
    return to


async def create(settings: Settings, slug: str, *domains: str, key: str | None = None) -> Profile:
    """Make a tenant over a connection of its own."""
    async with provision.administrator(settings) as admin:
        return await admin.create(slug, domains, idempotency_key=key)


async def refill(settings: Settings, wanted: int) -> int:
    """Make schemas ahead over a connection of its own."""
    async with provision.administrator(settings) as admin:
        return await admin.refill(wanted)


_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


async def until_idle(database: Database) -> None:
    """Wait until no other session is in *database*: a killed client's ends by itself."""
    async with superuser(database.superuser_url) as conn, asyncio.timeout(30):
        while await conn.fetchval(_OTHERS):  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.02)
