"""A server with which a promise could not be kept is refused, and the cure named."""

import asyncio
import logging
import shutil
from pathlib import Path

import asyncpg
import pytest
from support.databases import Database, Logins, make_database, make_logins, superuser

from tenancy import Tenancy, embedded, migrate, provision
from tenancy.errors import DatabaseSetupError, DatabaseUnavailableError, SettingsError


async def test_a_database_without_a_registry_names_the_migrator(empty_database: Database) -> None:
    with pytest.raises(DatabaseSetupError, match=r"python -m tenancy\.migrate"):
        await Tenancy(settings=empty_database.settings()).start()


async def test_a_shared_schema_named_by_a_keyword_is_refused(database: Database) -> None:
    with pytest.raises(DatabaseSetupError, match="TENANCY_SHARED_SCHEMA=user"):
        await Tenancy(settings=database.settings(shared_schema="user")).start()


async def test_a_server_that_loses_acknowledged_writes_is_refused(scratch: Path) -> None:
    server = embedded.start(scratch / "unsafe", options={"fsync": "off"})
    try:
        url = server.url("postgres", "postgres")
        logins = await make_logins(url)
        database = await make_database(url, logins)
        (await migrate.migrate(database.settings())).raise_for_failures()
        async with provision.administrator(database.settings()) as admin:
            await admin.create("acme")
        with pytest.raises(DatabaseSetupError, match=r"fsync.*TENANCY_REQUIRE_DURABILITY"):
            await Tenancy(settings=database.settings(require_durability=True)).start()
        async with Tenancy(settings=database.settings()) as tenancy:
            async with tenancy.transaction("acme") as conn:
                assert await conn.fetchval("SHOW synchronous_commit") == "on"
    finally:
        server.stop()
        shutil.rmtree(scratch / "unsafe", ignore_errors=True)


async def test_a_wrong_database_is_told_without_its_name(database: Database) -> None:
    settings = database.settings(database_url=database.app_url.replace(database.name, "no_such"))
    with pytest.raises(DatabaseSetupError, match="TENANCY_DATABASE_URL") as caught:
        await Tenancy(settings=settings).start()
    assert "no_such" not in str(caught.value)


def _with(url: str, option: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{option}"


async def test_a_misspelt_option_of_the_address_is_named(database: Database) -> None:
    if database.pooled:
        pytest.skip("the pooler's words are others")
    settings = database.settings(database_url=_with(database.app_url, "sslmod=hunter2"))
    with pytest.raises(SettingsError, match=r"option sslmod of TENANCY_DATABASE_URL") as caught:
        await Tenancy(settings=settings).start()
    assert "hunter2" not in str(caught.value)


async def test_a_host_that_is_none_and_a_server_without_tls_are_told(database: Database) -> None:
    settings = database.settings(database_url="postgresql://a:b@no-such-host.invalid/x")
    with pytest.raises(DatabaseUnavailableError, match="is the host name right"):
        await Tenancy(settings=settings).start()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"N")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as without_tls:
        port = without_tls.sockets[0].getsockname()[1]
        settings = database.settings(
            database_url=f"postgresql://a:b@127.0.0.1:{port}/x?sslmode=require"
        )
        with pytest.raises(DatabaseUnavailableError, match="the server refuses TLS"):
            await Tenancy(settings=settings).start()


async def test_tenants_of_another_level_are_refused_at_the_start(database: Database) -> None:
    settings = database.settings(isolation="schema")
    with pytest.raises(DatabaseSetupError, match=r"TENANCY_ISOLATION=schema.*tenants grant"):
        await Tenancy(settings=settings).start()
    async with provision.administrator(settings) as admin:
        await admin.grant()
    async with Tenancy(settings=settings) as tenancy, tenancy.transaction("acme") as conn:
        assert await conn.fetchval("SELECT count(*) FROM notes") == 0


async def test_one_tenant_whose_schema_is_closed_stops_no_other(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with superuser(database.superuser_url) as conn:
        name = await conn.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = 'globex'")
        await conn.execute(f"REVOKE USAGE ON SCHEMA {name} FROM {name}")
    async with Tenancy(settings=database.settings()) as tenancy, tenancy.transaction("acme"):
        assert "1 of 2 tenants' schemas" in caplog.text


async def test_a_server_that_is_away_is_told(database: Database) -> None:
    settings = database.settings(database_url="postgresql://someone:hunter2@127.0.0.1:1/x")
    with pytest.raises(DatabaseUnavailableError) as caught:
        await Tenancy(settings=settings).start()
    assert "hunter2" not in str(caught.value)


async def test_a_login_with_too_many_rights_is_warned_of(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with Tenancy(settings=database.settings(database_url=database.superuser_url)):
            pass
    assert "superuser" in caplog.text


async def test_acknowledged_writes_survive_a_kill_9_of_the_server(
    scratch: Path, long: bool
) -> None:
    """G9, on a server of its own: its postmaster's children are killed with it."""
    for round_ in range(20 if long else 2):
        at = scratch / f"crash-{round_}"
        server = embedded.start(at)
        url = server.url("postgres", "postgres")
        logins: Logins = await make_logins(url)
        database = await make_database(url, logins)
        settings = database.settings(require_durability=True)
        (await migrate.migrate(settings)).raise_for_failures()
        async with provision.administrator(settings) as admin:
            await admin.create("acme")
        acknowledged: list[str] = []

        async def write(tenancy: Tenancy, writer: int, said: list[str] = acknowledged) -> None:
            for n in range(100_000):
                try:
                    async with tenancy.transaction("acme") as conn:
                        body = f"{writer}-{n}"
                        await conn.execute("INSERT INTO notes (body) VALUES ($1)", body)
                except Exception:
                    return
                said.append(body)

        tenancy = Tenancy(settings=settings)
        await tenancy.start()
        writers = [asyncio.create_task(write(tenancy, n)) for n in range(4)]
        await asyncio.sleep(0.5)
        pid = int((at / "data" / "postmaster.pid").read_text().split()[0])
        killer = await asyncio.create_subprocess_exec("kill", "-9", str(pid))
        await killer.wait()
        await asyncio.gather(*writers)
        await tenancy.stop()
        server.stop()
        server = embedded.start(at)
        try:
            conn = await asyncpg.connect(server.url("postgres", database.name))
            schema = await conn.fetchval("SELECT schema_name FROM tenancy.tenants")
            rows = {row["body"] for row in await conn.fetch(f'SELECT body FROM "{schema}".notes')}
            await conn.close()
        finally:
            server.stop()
            shutil.rmtree(at, ignore_errors=True)
        assert acknowledged
        assert set(acknowledged) <= rows
