"""A tenant moves between servers of two major versions, and back."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
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

from tenancy import embedded, migrate, portability, provision
from tenancy.embedded import binaries
from tenancy.errors import EmbeddedServerError


@pytest.fixture
def other_server(long: bool) -> Iterator[str]:
    """A superuser's address of the system's PostgreSQL, rather than the wheel's."""
    if not long:
        pytest.skip("a second server takes its time: --long")
    path = Path(tempfile.mkdtemp(prefix="tenancy-other-"))
    path.chmod(0o755)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(binaries, "wheel", list)
            running = embedded.start(path / "server")
        try:
            yield running.url("postgres", "postgres")
        finally:
            running.stop()
    except EmbeddedServerError:
        pytest.skip("no PostgreSQL is installed beside the wheel's")
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def test_a_tenant_moves_to_another_major_version_and_back(
    empty_database: Database, other_server: str, tmp_path: Path
) -> None:
    for name, text in peculiar.FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    logins = await make_logins(other_server)
    other = await make_database(other_server, logins)
    here, there = (one.settings(sql_dir=tmp_path) for one in (empty_database, other))
    try:
        for settings in (here, there):
            (await migrate.migrate(settings)).raise_for_failures()
        async with provision.administrator(here) as admin:
            schema = (await admin.create("acme")).tenant.schema
            conn = admin.connection
            async with conn.transaction():
                await conn.execute(f"SET LOCAL search_path = {schema}, shared, pg_temp")
                await conn.execute(peculiar.ROWS)
        async with superuser(empty_database.superuser_url) as conn:
            before = await content(conn, schema)
        moved = await portability.move(here, "acme", there)
        async with superuser(other.superuser_url) as conn:
            assert await content(conn, moved.profile.tenant.schema) == before
        async with provision.administrator(here) as admin:
            await admin.delete("acme")
            await admin.purge("acme", early=True)
        back = await portability.move(there, "acme", here)
        assert back.profile.tenant.id == moved.profile.tenant.id
        async with superuser(empty_database.superuser_url) as conn:
            assert await content(conn, back.profile.tenant.schema) == before
    finally:
        await drop_database(other_server, other)
        await drop_logins(other_server, logins)
