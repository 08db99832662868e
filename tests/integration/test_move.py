"""A tenant moves to another database with all that was ever written, wherever it is interrupted."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from support.databases import (
    Database,
    Logins,
    drop_database,
    make_database,
    superuser,
)
from support.fleets import ended
from support.likeness import content
from support.processes import Result, environment

from tenancy import Tenancy, migrate, portability, provision
from tenancy.errors import (
    HookFailedError,
    MigrationRefusedError,
    MoveError,
    SettingsError,
    SlugTakenError,
    StateConflictError,
    TenancyError,
    TenantReadOnlyError,
    TenantSuspendedError,
)
from tenancy.portability import target
from tenancy.provision import Event, Hooks, Step
from tenancy.settings import Settings
from tenancy.tenant import State

NOTES = "INSERT INTO notes (body) SELECT 'note ' || generate_series(1, 100)"


@pytest.fixture
async def other(server_url: str, logins: Logins) -> AsyncIterator[Database]:
    """A second database, migrated, without tenants."""
    database = await make_database(server_url, logins)
    (await migrate.migrate(database.settings())).raise_for_failures()
    yield database
    await drop_database(server_url, database)


@pytest.fixture
async def acme(database: Database) -> provision.Profile:
    """The tenant acme with a domain and some notes."""
    await _run(database.settings(), "acme", NOTES)
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            "INSERT INTO tenancy.domains (name, tenant_id, is_primary, verified_at) "
            "SELECT 'notes.acme.example', id, true, now() FROM tenancy.tenants WHERE slug = 'acme';"
            "UPDATE tenancy.tenants SET settings = '{\"max_connections\": 3}' WHERE slug = 'acme'"
        )
    return await _show(database, "acme")


async def _run(settings: Settings, slug: str, sql: str) -> None:
    async with Tenancy(settings=settings) as tenancy:
        async with tenancy.transaction(slug) as conn:
            await conn.execute(sql)


async def _show(database: Database, slug: str) -> provision.Profile:
    async with provision.administrator(database.settings()) as admin:
        return await admin.show(slug)


async def _content(database: Database, slug: str) -> dict[str, list[str]]:
    schema = (await _show(database, slug)).tenant.schema
    async with superuser(database.superuser_url) as conn:
        return await content(conn, schema)


async def _is_moved(here: Database, there: Database, before: provision.Profile) -> None:
    """The tenant is served there and not here, and is whole."""
    after = await _show(there, "acme")
    assert after.tenant.id == before.tenant.id
    assert after.tenant.state == before.tenant.state
    assert (after.domains, after.created_at) == (before.domains, before.created_at)
    assert after.tenant.limits == before.tenant.limits
    assert await _content(there, "acme") == await _content(here, "acme")
    await _run(there.settings(), "acme", NOTES)
    with pytest.raises(TenantSuspendedError):
        await _run(here.settings(), "acme", NOTES)
    for database in (here, there):
        assert (await migrate.verify(database.settings())).exit_code == 0


async def _is_here(here: Database, there: Database, before: provision.Profile) -> None:
    """The tenant is what it was, and nothing is there."""
    after = await _show(here, "acme")
    assert (after.tenant, after.domains) == (before.tenant, before.domains)
    await _run(here.settings(), "acme", NOTES)
    async with superuser(there.superuser_url) as conn:
        assert await conn.fetchval("SELECT count(*) FROM tenancy.tenants") == 0
        assert await conn.fetchval(_SCHEMAS) == 0
    async with superuser(here.superuser_url) as conn:
        assert await conn.fetchval("SELECT count(*) FROM tenancy.moves") == 0
    assert (await migrate.verify(here.settings())).exit_code == 0


_SCHEMAS = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 't\\_%'"


async def test_a_tenant_moves(database: Database, other: Database, acme: provision.Profile) -> None:
    moved = await portability.move(database.settings(), "acme", other.settings())
    assert (moved.rows, moved.pending) == (100, 0)
    await _is_moved(database, other, acme)
    again = await portability.move(database.settings(), "acme", other.settings())
    assert again.profile.tenant.id == acme.tenant.id
    async with provision.administrator(database.settings()) as admin:
        for serve in (admin.resume, admin.make_read_only):  # it would be served by both
            with pytest.raises(StateConflictError, match="moves to another database, or has"):
                await serve("acme")
    async with superuser(database.superuser_url) as conn:
        rows = await conn.fetch(
            "SELECT outcome FROM tenancy.audit WHERE action = 'move' ORDER BY id LIMIT 2"
        )
    assert [row["outcome"] for row in rows] == ["begun", "done"]


@pytest.mark.usefixtures("acme")
async def test_nothing_acknowledged_is_lost_on_the_way(database: Database, other: Database) -> None:
    """Writers go on till they are refused; one has begun before, and writes when he may not."""
    acknowledged: list[str] = []
    refused = asyncio.Event()

    async def write(tenancy: Tenancy, who: int) -> None:
        for number in range(100_000):
            body = f"{who}/{number}"
            try:
                async with tenancy.transaction("acme") as conn:
                    await conn.execute("INSERT INTO notes (body) VALUES ($1)", body)
            except (TenancyError, asyncpg.PostgresError):
                refused.set()
                return
            acknowledged.append(body)

    async def lag(tenancy: Tenancy) -> None:
        async with tenancy.transaction("acme") as conn:
            await conn.fetch("SELECT 1 FROM notes LIMIT 1")
            await refused.wait()
            await conn.execute("INSERT INTO notes (body) VALUES ('late')")
        acknowledged.append("late")

    async with Tenancy(settings=database.settings(pool_max_size=6)) as tenancy:
        late = asyncio.create_task(lag(tenancy))
        writers = [asyncio.create_task(write(tenancy, who)) for who in range(4)]
        async with asyncio.timeout(30):
            while len(acknowledged) < 50:  # noqa: ASYNC110 - writers set no event
                await asyncio.sleep(0.01)
        await portability.move(database.settings(), "acme", other.settings())
        await asyncio.gather(late, *writers, return_exceptions=True)
    schema = (await _show(other, "acme")).tenant.schema
    async with superuser(other.superuser_url) as conn:
        there = {row["body"] for row in await conn.fetch(f"SELECT body FROM {schema}.notes")}
    assert set(acknowledged) <= there


@pytest.mark.usefixtures("acme")
async def test_a_writer_that_began_before_the_move_cannot_write_in_it(
    database: Database, other: Database
) -> None:
    hooks = Hooks()
    begun, write = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        async with Tenancy(settings=database.settings()) as tenancy:
            async with tenancy.transaction("acme") as conn:
                begun.set()
                await write.wait()
                await conn.execute("INSERT INTO notes (body) VALUES ('late')")

    writer = asyncio.create_task(late())

    @hooks.before(Step.IMPORT)
    async def let_it_write(event: Event) -> None:
        assert event.slug == "acme"
        write.set()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await writer

    await begun.wait()
    await portability.move(database.settings(), "acme", other.settings(), hooks=hooks)
    assert await _content(other, "acme") == await _content(database, "acme")


async def _until(database: Database, condition: str) -> None:
    async with superuser(database.superuser_url) as conn, asyncio.timeout(30):
        while not await conn.fetchval(condition):  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("acme")
async def test_readers_go_on_during_the_move_and_writers_are_told(
    database: Database, other: Database
) -> None:
    hooks = Hooks()
    counts = []

    @hooks.before(Step.IMPORT)
    async def read(event: Event) -> None:
        async with Tenancy(settings=database.settings()) as tenancy:
            async with tenancy.transaction(event.slug, readonly=True) as conn:
                counts.append(await conn.fetchval("SELECT count(*) FROM notes"))
            with pytest.raises(TenantReadOnlyError):
                async with tenancy.transaction(event.slug) as conn:
                    await conn.execute(NOTES)

    await portability.move(database.settings(), "acme", other.settings(), hooks=hooks)
    assert counts == [100]


@pytest.mark.usefixtures("acme")
async def test_where_requests_run_as_the_owner_locks_keep_them_from_writing(
    database: Database, other: Database
) -> None:
    one = {"database_url": None, "admin_database_url": None, "isolation": "schema"}
    settings, there = [
        each.settings(**{**one, "database_url": each.admin_url}) for each in (database, other)
    ]
    hooks = Hooks()

    @hooks.after(Step.IMPORT)
    async def write(event: Event) -> None:
        async with superuser(database.superuser_url) as conn:
            schema = (await _show(database, event.slug)).tenant.schema
            await conn.execute("SET lock_timeout = '50ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await conn.execute(f"INSERT INTO {schema}.notes (body) VALUES ('late')")

    await portability.move(settings, "acme", there, hooks=hooks)
    assert await _content(other, "acme") == await _content(database, "acme")
    await _run(there, "acme", NOTES)


async def test_a_function_that_lends_its_owners_rights_cannot_write_either(
    database: Database, other: Database, acme: provision.Profile
) -> None:
    settings, schema = database.settings(), acme.tenant.schema
    async with provision.administrator(settings) as admin:
        await admin.connection.execute(
            f"CREATE FUNCTION {schema}.late() RETURNS void LANGUAGE sql SECURITY DEFINER "
            f"AS 'INSERT INTO {schema}.notes (body) VALUES (''late'')'"
        )
    hooks = Hooks()

    @hooks.before(Step.IMPORT)
    async def write(event: Event) -> None:
        assert event.slug == "acme"
        async with superuser(database.superuser_url) as conn:
            await conn.execute(f"SET lock_timeout = '50ms'; SET ROLE {schema}")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await conn.execute(f"SELECT {schema}.late()")

    await portability.move(settings, "acme", other.settings(), hooks=hooks)
    assert await _content(other, "acme") == await _content(database, "acme")


@pytest.mark.usefixtures("acme")
async def test_rights_given_during_the_move_end_it(database: Database, other: Database) -> None:
    hooks = Hooks()

    @hooks.before(Step.IMPORT)
    async def grant(event: Event) -> None:
        assert event.slug == "acme"
        async with provision.administrator(database.settings()) as admin:
            await admin.grant()

    with pytest.raises(MoveError, match="right to write"):
        await portability.move(database.settings(), "acme", other.settings(), hooks=hooks)
    assert (await _show(database, "acme")).tenant.state is State.ACTIVE


@pytest.mark.usefixtures("acme")
async def test_a_tenant_renamed_during_its_move_is_what_it_was(
    database: Database, other: Database
) -> None:
    hooks = Hooks()

    @hooks.before(Step.IMPORT)
    async def rename(event: Event) -> None:
        async with provision.administrator(database.settings()) as admin:
            await admin.rename(event.slug, "new")
            await admin.create(event.slug)

    with pytest.raises(MoveError, match="nothing was moved"):
        await portability.move(database.settings(), "acme", other.settings(), hooks=hooks)
    for slug in ("new", "acme"):
        assert (await _show(database, slug)).tenant.state is State.ACTIVE
        await _run(database.settings(), slug, NOTES)


@pytest.mark.usefixtures("acme")
async def test_a_domain_added_during_the_move_does_not_stay_behind(
    database: Database, other: Database
) -> None:
    hooks = Hooks()

    @hooks.before(Step.IMPORT)
    async def add(event: Event) -> None:
        async with provision.administrator(database.settings()) as admin:
            await admin.add_domain(event.slug, "late.acme.example", verified=True)

    with pytest.raises(MoveError, match="were changed during the move"):
        await portability.move(database.settings(), "acme", other.settings(), hooks=hooks)
    assert (await _show(database, "acme")).tenant.state is State.ACTIVE
    await portability.move(database.settings(), "acme", other.settings())
    assert "late.acme.example" in (await _show(other, "acme")).domains


# What ends it


@asynccontextmanager
async def _held(database: Database, table: str) -> AsyncIterator[None]:
    """Nobody writes in *table* until the block ends."""
    async with superuser(database.superuser_url) as conn, conn.transaction():
        await conn.execute(f"LOCK TABLE tenancy.{table} IN SHARE MODE")
        yield


async def _started(here: Database, there: Database) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tenancy", "tenants", "move", "acme", "--yes"),
        *("--to-env", "OTHER_URL", "--to-admin-env", "OTHER_ADMIN_URL"),
        env=environment(here.settings(), OTHER_URL=there.app_url, OTHER_ADMIN_URL=there.admin_url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _waits_for(database: Database, table: str) -> None:
    await _until(
        database,
        "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM "
        "pg_database WHERE datname = current_database()) "
        f"AND relation = 'tenancy.{table}'::regclass",
    )


async def _ended(process: asyncio.subprocess.Process, number: signal.Signals) -> Result:
    process.send_signal(number)
    return await ended(process)


async def _move(here: Database, there: Database) -> None:
    """By the command, to its end."""
    result = await ended(await _started(here, there))
    assert result.code == 0, result.err


async def _kill_while_it_copies(
    here: Database, there: Database, number: signal.Signals = signal.SIGKILL
) -> None:
    async with _held(there, "domains"):
        process = await _started(here, there)
        await _waits_for(there, "domains")
        assert (await _show(here, "acme")).tenant.state is State.READ_ONLY
        await _ended(process, number)


async def _kill_when_it_has_closed(here: Database, there: Database) -> None:
    async with _held(there, "audit"):
        process = await _started(here, there)
        await _waits_for(there, "audit")
        assert (await _show(here, "acme")).tenant.state is State.SUSPENDED
        await _ended(process, signal.SIGKILL)


async def _kill_when_it_has_arrived(here: Database, there: Database) -> None:
    async with _held(there, "audit"):
        process = await _started(here, there)
        await _waits_for(there, "audit")
        hold = _held(here, "moves")
        await hold.__aenter__()
    await _waits_for(here, "moves")
    await _ended(process, signal.SIGKILL)
    await hold.__aexit__(None, None, None)


KILLS = [_kill_while_it_copies, _kill_when_it_has_closed, _kill_when_it_has_arrived]


@pytest.mark.parametrize("kill", KILLS)
async def test_a_move_that_was_killed_can_be_run_again(
    database: Database,
    other: Database,
    acme: provision.Profile,
    kill: Callable[[Database, Database], Awaitable[None]],
) -> None:
    await kill(database, other)
    await _move(database, other)
    await _is_moved(database, other, acme)


@pytest.mark.parametrize("kill", KILLS[:2])
async def test_a_move_that_was_killed_can_be_given_up(
    database: Database,
    other: Database,
    acme: provision.Profile,
    kill: Callable[[Database, Database], Awaitable[None]],
) -> None:
    await kill(database, other)
    profile = await portability.abandon(database.settings(), "acme", other.settings())
    assert profile.tenant.state is State.ACTIVE
    await _is_here(database, other, acme)


@pytest.mark.usefixtures("acme")
async def test_a_move_that_has_arrived_cannot_be_given_up(
    database: Database, other: Database
) -> None:
    await _kill_when_it_has_arrived(database, other)
    with pytest.raises(MoveError, match="run the move again"):
        await portability.abandon(database.settings(), "acme", other.settings())
    assert (await _show(database, "acme")).tenant.state is State.SUSPENDED


async def test_a_move_that_is_stopped_leaves_the_tenant_as_it_was(
    database: Database, other: Database, acme: provision.Profile
) -> None:
    await _kill_while_it_copies(database, other, signal.SIGTERM)
    await _is_here(database, other, acme)


async def test_a_hook_there_that_fails_leaves_the_tenant_as_it_was(
    database: Database, other: Database, acme: provision.Profile
) -> None:
    hooks = Hooks()

    @hooks.after(Step.IMPORT)
    async def fail(event: Event) -> None:
        raise ZeroDivisionError(event.slug)

    with pytest.raises(HookFailedError):
        await portability.move(database.settings(), "acme", other.settings(), hooks=hooks)
    await _is_here(database, other, acme)


async def test_a_hook_here_that_fails_leaves_the_tenant_as_it_was(
    database: Database, other: Database, acme: provision.Profile
) -> None:
    hooks = Hooks()

    @hooks.after(Step.MOVE)
    async def fail(event: Event) -> None:
        raise ZeroDivisionError(event.slug)

    with pytest.raises(HookFailedError):
        await portability.move(database.settings(), "acme", other.settings(), hooks=hooks)
    await _is_here(database, other, acme)


# What is refused before anybody notices


async def test_a_move_that_cannot_be_is_refused_before_it_begins(
    database: Database,
    other: Database,
    empty_database: Database,
    acme: provision.Profile,
    tmp_path: Path,
) -> None:
    settings = database.settings()
    with pytest.raises(MoveError, match="in that database already"):
        await portability.move(settings, "acme", settings)
    with pytest.raises(MigrationRefusedError, match="pending"):
        await portability.move(settings, "acme", empty_database.settings())
    files = tmp_path / "tenant"
    files.mkdir()
    (files / "0001_notes.sql").write_text("CREATE TABLE notes (id int);")
    with pytest.raises(MigrationRefusedError, match="not those of this tenant"):
        await portability.move(settings, "acme", other.settings(sql_dir=tmp_path))
    async with provision.administrator(other.settings()) as admin:
        await admin.create("acme")
    with pytest.raises(SlugTakenError):
        await portability.move(settings, "acme", other.settings())
    assert (await _show(database, "acme")).updated_at == acme.updated_at


@pytest.mark.usefixtures("acme")
async def test_a_suspended_tenant_stays_suspended_there(
    database: Database, other: Database
) -> None:
    async with superuser(database.superuser_url) as conn:
        await conn.execute("UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'acme'")
    await portability.move(database.settings(), "acme", other.settings())
    assert (await _show(other, "acme")).tenant.state is State.SUSPENDED


@pytest.mark.usefixtures("acme")
async def test_what_stays_behind_is_not_served_again(database: Database, other: Database) -> None:
    settings = database.settings()
    await portability.move(settings, "acme", other.settings())
    async with provision.administrator(settings) as admin:
        for step in (admin.resume, admin.make_read_only):
            with pytest.raises(StateConflictError, match="moves to another database, or has"):
                await step("acme")
        assert (await admin.suspend("acme")).tenant.state is State.SUSPENDED
        await admin.delete("acme")
        assert (await admin.restore("acme")).tenant.state is State.SUSPENDED


def test_the_target_is_read_from_a_file(database: Database, tmp_path: Path) -> None:
    ours = database.settings(isolation="schema", pool_max_size=9)
    path = tmp_path / "other.env"
    path.write_text(
        "OTHER=1\nTENANCY_DATABASE_URL=postgresql://a@b/c\nTENANCY_BASE_DOMAINS=x.example,y.example"
    )
    found = target.read(ours, path)
    assert (found.dsn, found.admin_dsn) == ("postgresql://a@b/c", "postgresql://a@b/c")
    assert (found.base_domains, found.pool_max_size) == (("x.example", "y.example"), 9)
    for text, words in (
        ("TENANCY_ADMIN_DATABASE_URL=postgresql://a@b/c", "does not say where"),
        ("TENANCY_DATABASE_URL=postgresql://a@b/c\nTENANCY_ISOLATON=role", "TENANCY_ISOLATON"),
        ("TENANCY_DATABASE_URL=postgresql://a@b/c\nTENANCY_ISOLATION=x", "TENANCY_ISOLATION"),
    ):
        path.write_text(text)
        with pytest.raises(SettingsError, match=words):
            target.read(ours, path)
