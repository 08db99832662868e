"""A server and a fleet of tenants, outside of pytest: for the benchmarks."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from support.databases import Database, drop_database, drop_logins, make_database, make_logins
from tenancy import embedded, migrate, provision


@contextmanager
def server() -> Iterator[str]:
    """A superuser's address."""
    configured = os.environ.get("TENANCY_TEST_DATABASE_URL")
    if configured:
        yield configured
        return
    path = Path(tempfile.mkdtemp(prefix="tenancy-benchmark-"))
    path.chmod(0o755)
    running = embedded.start(path / "server", options={"max_connections": "300"})
    try:
        yield running.url("postgres", "postgres")
    finally:
        running.stop()
        shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def fleet(tenants: int) -> AsyncIterator[tuple[Database, dict[str, str]]]:
    """A migrated database and the schema of each of its tenants, by slug; each has a few notes."""
    with server() as url:
        logins = await make_logins(url)
        database = await make_database(url, logins)
        try:
            settings = database.settings()
            (await migrate.migrate(settings)).raise_for_failures()
            async with provision.administrator(settings) as admin:
                slugs = ["acme", *(f"tenant-{n}" for n in range(1, tenants))]
                made = [(await admin.create(slug)).tenant for slug in slugs]
                for tenant in made:
                    await admin._conn.execute(
                        f'INSERT INTO "{tenant.schema}".notes (body) '
                        "SELECT 'note ' || n FROM generate_series(1, 5) AS n"
                    )
            yield database, {tenant.slug: tenant.schema for tenant in made}
        finally:
            await drop_database(url, database)
            await drop_logins(url, logins)
