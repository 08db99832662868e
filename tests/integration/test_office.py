"""Administrators for many callers: a few connections, and nothing of one caller for the next."""

import asyncio

import pytest
from support.databases import Database, superuser

from tenancy.errors import (
    DatabaseSetupError,
    DatabaseUnavailableError,
    PoolExhaustedError,
    SettingsError,
)
from tenancy.provision import Actor
from tenancy.provision.audit import Wanted
from tenancy.provision.office import Office

ANNA = Actor("token:anna", "10.0.0.1")
BERT = Actor("token:bert", "10.0.0.2")


async def _pid(office: Office, actor: Actor = ANNA) -> int:
    async with office.administrator(actor) as admin:
        return int(await admin.connection.fetchval("SELECT pg_backend_pid()"))


async def test_the_next_caller_finds_nothing_of_the_last_one(database: Database) -> None:
    office = Office(database.settings(), connections=1)
    async with office.administrator(ANNA) as admin:
        conn = admin.connection
        role = (await admin.show("acme")).tenant.schema
        pid = await conn.fetchval("SELECT pg_backend_pid()")
        await conn.execute(
            f"CREATE TEMP TABLE x (); SET lock_timeout = '1s'; SET search_path = {role}; "
            "SELECT pg_advisory_lock(1)"
        )
        await conn.execute(f"SET ROLE {(await conn.fetchval('SELECT session_user'))}")
        with admin.matching(["of another time"]):
            pass
    async with office.administrator(BERT) as admin:
        conn = admin.connection
        assert await conn.fetchval("SELECT pg_backend_pid()") == pid
        assert await conn.fetchval("SELECT to_regclass('pg_temp.x')") is None
        assert await conn.fetchval("SHOW lock_timeout") == "0"
        assert await conn.fetchval("SHOW search_path") == ""
        assert await conn.fetchval("SHOW role") == "none"
        assert await conn.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        await admin.limit("acme", {"max_connections": 3})
        (entry,) = await admin.entries(Wanted(actor=BERT.name))
        assert (entry.source, entry.action) == (BERT.source, "limit")
    await office.close()


async def test_who_waits_too_long_is_told_so(database: Database) -> None:
    office = Office(database.settings(pool_acquire_timeout_seconds=0.2), connections=1)
    async with office.administrator(ANNA):
        with pytest.raises(PoolExhaustedError):
            await _pid(office)
    assert office.size == 1
    assert await _pid(office)
    await office.close()
    assert office.size == 0


async def test_a_connection_in_an_unknown_state_is_not_lent_again(database: Database) -> None:
    office = Office(database.settings(), connections=1)
    first = await _pid(office)
    async with office.administrator(ANNA) as admin:
        await admin.connection.execute("BEGIN")
    second = await _pid(office)
    assert second != first
    async with superuser(database.superuser_url) as conn:
        await conn.execute("SELECT pg_terminate_backend($1)", second)
        third = await _pid(office)  # and nobody has noticed
        assert third != second
        with pytest.raises(DatabaseUnavailableError, match="nothing was saved"):
            async with office.administrator(ANNA) as admin:
                await conn.execute("SELECT pg_terminate_backend($1)", third)
                await admin.limit("acme", {"max_connections": 3})
    async with office.administrator(ANNA) as admin:
        assert (await admin.show("acme")).tenant.limits.max_connections is None
    await office.close()


async def test_a_database_without_a_catalog_says_what_to_run(empty_database: Database) -> None:
    office = Office(empty_database.settings())
    with pytest.raises(DatabaseSetupError, match=r"run `python -m tenancy\.migrate`"):
        async with office.administrator(ANNA) as admin:
            await admin.tokens()
    await office.close()


async def test_a_caller_that_is_cancelled_leaves_its_place(database: Database) -> None:
    office = Office(database.settings(), connections=1)
    begun = asyncio.Event()

    async def work() -> None:
        async with office.administrator(ANNA) as admin:
            begun.set()
            await admin.connection.execute("SELECT pg_sleep(60)")

    for _ in range(3):
        begun.clear()
        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await _pid(office)
    await office.close()


async def test_many_callers_share_a_few_connections(database: Database) -> None:
    office = Office(database.settings(), connections=3)
    pids = await asyncio.gather(*(_pid(office) for _ in range(30)))
    assert len(set(pids)) <= 3
    await office.close()


async def test_nothing_is_connected_before_it_is_needed(database: Database) -> None:
    nowhere = database.settings(admin_database_url="postgresql://x@127.0.0.1:1/x")
    office = Office(nowhere)
    assert office.size == 0
    with pytest.raises(DatabaseUnavailableError):
        await _pid(office)
    with pytest.raises(SettingsError):
        Office(database.settings(hooks="nowhere:hooks"))
