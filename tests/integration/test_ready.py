"""Schemas made ahead: each is given to one tenant, and only while it is what the files say."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from support.creations import APART, audited, create, everything, refill, with_files
from support.databases import Database, Logins, superuser
from support.processes import environment, run

from tenancy import Isolation, Tenancy, doctor, migrate, provision
from tenancy.errors import DomainTakenError, SlugTakenError
from tenancy.provision import Event, Hooks, Step
from tenancy.provision.ready import Stock
from tenancy.settings import Settings


async def _ready(database: Database) -> set[str]:
    return {name for kind, name in await everything(database) if kind == "ready"}


async def _stock(settings: Settings) -> Stock:
    async with provision.administrator(settings) as admin:
        return await admin.stock()


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_a_new_tenant_is_given_a_schema_that_was_made_ahead(
    database: Database, isolation: Isolation
) -> None:
    settings = database.settings(isolation=isolation)
    assert await refill(settings, 1) == 1
    (name,) = await _ready(database)
    profile = await create(settings, "initech", "notes.initech.example")
    assert profile.tenant.schema == name
    assert profile.tenant.version == "0001"
    assert not await _ready(database)
    async with Tenancy(settings=database.settings(isolation="role")) as tenancy:
        if isolation is not Isolation.SCHEMA:
            async with tenancy.transaction("initech") as conn:
                await conn.execute("INSERT INTO notes (body) VALUES ('x')")
                assert await conn.fetchval("SELECT current_user") == name


async def test_under_isolation_by_schema_requests_may_write_in_it(database: Database) -> None:
    settings = database.settings(isolation="schema")
    async with provision.administrator(settings) as admin:
        await admin.grant()
    await refill(settings, 1)
    await create(settings, "initech")
    async with Tenancy(settings=settings) as tenancy, tenancy.transaction("initech") as conn:
        assert await conn.fetchval("INSERT INTO notes (body) VALUES ('x') RETURNING id") == 1


async def test_no_schema_is_given_to_two_of_fifty_creates_at_once(database: Database) -> None:
    settings = database.settings()
    assert await refill(settings, 20) == 20
    ahead = await _ready(database)
    slots = asyncio.Semaphore(25)  # connections; the server has a hundred

    async def one(number: int) -> str:
        async with slots:
            return (await create(settings, f"many-{number}")).tenant.schema

    names = await asyncio.gather(*(one(n) for n in range(50)))
    assert len(set(names)) == 50
    assert ahead < set(names)
    assert not await _ready(database)
    async with superuser(database.superuser_url) as conn:
        for name in names:
            assert await conn.fetchval(f'SELECT count(*) FROM "{name}".notes') == 0


async def test_who_has_claimed_one_keeps_nobody_waiting(database: Database) -> None:
    settings = database.settings()
    await refill(settings, 2)
    hooks = Hooks()

    @hooks.after(Step.CREATE)
    async def another(_: Event) -> None:
        async with asyncio.timeout(60):
            await create(settings, "hooli")

    async with provision.administrator(settings, hooks=hooks) as admin:
        first = await admin.create("initech")
        second = await admin.show("hooli")
    assert {first.tenant.schema, second.tenant.schema} < {
        name for kind, name in await everything(database) if kind == "role"
    }
    assert not await _ready(database)


async def test_a_create_that_fails_gives_it_back(database: Database) -> None:
    settings = database.settings()
    await create(settings, "globex-2", "notes.globex.example")
    await refill(settings, 1)
    before = await everything(database)
    with pytest.raises(SlugTakenError):
        await create(settings, "acme")
    with pytest.raises(DomainTakenError):
        await create(settings, "initech", "notes.globex.example")
    assert await everything(database) == before


async def test_a_schema_of_other_files_is_not_given_and_is_made_anew(
    database: Database, tmp_path: Path
) -> None:
    await refill(database.settings(), 2)
    old = await _ready(database)
    later = database.settings(
        sql_dir=with_files(tmp_path, {"0002_tags.sql": "CREATE TABLE tags ();"})
    )
    assert (await create(later, "initech")).tenant.schema not in old
    assert await _stock(later) == Stock(0, 0, 2)
    assert await refill(later, 1) == 3
    assert await _stock(later) == Stock(0, 1, 0)
    profile = await create(later, "hooli")
    assert profile.tenant.version == "0002"
    left = {name for _, name in await everything(database)}
    assert not any(name.startswith(gone) for name in left for gone in old)


async def test_a_schema_made_before_a_change_of_the_shared_one_is_not_given(
    database: Database, tmp_path: Path
) -> None:
    await refill(database.settings(), 1)
    later = database.settings(sql_dir=with_files(tmp_path, {}))
    (tmp_path / "shared" / "0002_more.sql").write_text("CREATE TABLE more (id int);\n")
    (await migrate.migrate(later)).raise_for_failures()
    assert await _stock(later) == Stock(0, 0, 1)


async def test_those_of_a_newer_build_are_left_to_it(database: Database, tmp_path: Path) -> None:
    newer = database.settings(
        sql_dir=with_files(tmp_path, {"0002_tags.sql": "CREATE TABLE tags ();"})
    )
    await refill(newer, 1)
    assert await refill(database.settings(), 1) == 1
    assert await _stock(newer) == Stock(0, 1, 1)


async def test_those_of_another_login_are_neither_given_nor_dropped(
    database: Database, server_url: str, logins: Logins
) -> None:
    async with superuser(server_url) as root:
        await root.execute("DROP ROLE IF EXISTS test_other; CREATE ROLE test_other LOGIN NOINHERIT")
        await root.execute(f"GRANT CONNECT ON DATABASE {database.name} TO test_other")
        other = database.settings(database_url=database.app_url.replace(logins.app, "test_other"))
        try:
            await refill(other, 1)
            (name,) = await _ready(database)
            assert (await create(database.settings(), "initech")).tenant.schema != name
            assert await refill(database.settings(), 0) == 0
            assert await _stock(other) == Stock(0, 1, 0)
            # Under another level of isolation the same login's are of no use.
            assert await _stock(other.model_copy(update={"isolation": Isolation.SCHEMA})) == Stock(
                0, 0, 1
            )
        finally:
            await root.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
            await root.execute("DROP ROLE test_other")
    assert name


async def test_two_who_refill_at_once_make_no_more_than_are_wanted(database: Database) -> None:
    settings = database.settings()
    made = await asyncio.gather(*(refill(settings, 6) for _ in range(6)))
    assert sum(made) == 6
    assert len(await _ready(database)) == 6
    assert await refill(settings, 2) == 4
    assert len(await _ready(database)) == 2


async def test_one_that_was_dropped_by_hand_is_not_given(database: Database) -> None:
    settings = database.settings()
    await refill(settings, 2)
    first, second = sorted(await _ready(database))
    async with superuser(database.superuser_url) as conn:
        await conn.execute(f'DROP SCHEMA "{first}" CASCADE')
        await conn.execute(f'DROP OWNED BY "{second}"; DROP ROLE "{second}"')
    assert (await create(settings, "initech")).tenant.schema not in (first, second)
    assert await refill(settings, 1) == 3
    assert not {first, second} & await _ready(database)


async def test_nobody_takes_them_for_tenants_or_orphans(database: Database) -> None:
    settings = database.settings()
    before, verified = await migrate.status(settings), await migrate.verify(settings)
    await refill(settings, 2)
    found = {one.id: one for one in await doctor.diagnose(settings)}
    assert not found["schema_orphaned"].count
    as_requests = database.settings(admin_database_url=None)
    found = {one.id: one for one in await doctor.diagnose(as_requests)}
    assert not found["schema_orphaned"].count
    assert (await migrate.status(settings)).versions == before.versions
    assert await migrate.verify(settings) == verified
    async with Tenancy(settings=settings) as tenancy:
        with pytest.raises(LookupError):
            async with tenancy.transaction("ready"):
                pass


async def test_files_that_need_transactions_of_their_own_are_made_ahead_too(
    database: Database, tmp_path: Path
) -> None:
    settings = database.settings(sql_dir=with_files(tmp_path, APART))
    assert await refill(settings, 2) == 2
    assert await _stock(settings) == Stock(0, 2, 0)
    profile = await create(settings, "initech")
    assert profile.tenant.schema.startswith("t_ready_")
    async with Tenancy(settings=settings) as tenancy, tenancy.transaction("initech") as conn:
        assert await conn.fetchval("SELECT count(*) FROM begun") == 1


async def test_the_command_fills_and_shows_the_stock(database: Database) -> None:
    env = environment(database.settings(ready_schemas=2))
    result = await run("-m", "tenancy", "tenants", "ready", "--json", env=env)
    assert json.loads(result.out) == {"wanted": 2, "ready": 0, "stale": 0}
    result = await run("-m", "tenancy", "tenants", "ready", "--fill", env=env)
    assert result.out == "2 of 2 are ready, 0 are stale\n", result.err


async def test_the_audit_says_which_schema_was_given(database: Database) -> None:
    settings = database.settings()
    await refill(settings, 1)
    (name,) = await _ready(database)
    await create(settings, "initech")
    assert (await audited(database))[0] == ("create", "initech", "done")
    async with superuser(database.superuser_url) as conn:
        detail = json.loads(
            await conn.fetchval("SELECT detail FROM tenancy.audit WHERE slug = 'initech'")
        )
    assert detail == {"domains": [], "made_ahead": True, "schema": name}


async def test_a_process_that_is_killed_while_it_fills_leaves_what_it_has_finished(
    database: Database,
) -> None:
    settings = database.settings()
    filling = asyncio.create_task(refill(settings, 500))
    async with superuser(database.superuser_url) as conn, asyncio.timeout(60):
        count = "SELECT count(*) FROM tenancy.ready_schemas"
        while await conn.fetchval(count) < 3:  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.01)
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await filling
    found = await everything(database)
    ready = {name for kind, name in found if kind == "ready"}
    assert {n for kind, n in found if kind == "schema" and n.startswith("t_ready_")} == ready
    assert {n for kind, n in found if kind == "role" and n in ready} == ready
    assert await refill(settings, 3) == max(0, len(ready) - 3)


async def test_where_none_are_wanted_no_files_are_asked_for(
    database: Database, tmp_path: Path
) -> None:
    assert await refill(database.settings(sql_dir=tmp_path / "nowhere"), 0) == 0
