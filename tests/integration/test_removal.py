"""A deleted tenant can be restored, and a purged one leaves nothing; nobody else notices."""

import asyncio
import random
from datetime import timedelta

import asyncpg
import pytest
from support import lives
from support.changes import until
from support.databases import Database, Logins, superuser

from tenancy import Tenancy, provision
from tenancy.errors import (
    DatabaseSetupError,
    DomainTakenError,
    HookFailedError,
    InvalidGraceError,
    NotDeletedError,
    PurgeBegunError,
    PurgeNotDueError,
    SchemaInUseError,
    SchemaSharedError,
    SlugTakenError,
    UnknownTenantError,
)
from tenancy.migrate.upgrade.lock import LockHeldError
from tenancy.provision import Event, Hooks, Step
from tenancy.tenant import State


async def _audited(database: Database) -> list[tuple[str, str, str | None]]:
    async with superuser(database.superuser_url) as conn:
        rows = await conn.fetch(
            "SELECT action, outcome, code FROM tenancy.audit WHERE slug = 'initech' ORDER BY id"
        )
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("state", ["provisioning", "active", "read_only", "suspended"])
async def test_a_restored_tenant_is_what_it_was(database: Database, state: str) -> None:
    async with provision.administrator(database.settings()) as admin:
        await admin.connection.execute(
            "UPDATE tenancy.tenants SET state = $1 WHERE slug = 'acme'", state
        )
        before = await lives.traces(database)
        deleted = await admin.delete("acme", reason="contract ended")
        assert deleted.tenant.state is State.DELETING
        assert deleted.purge_at is not None
        assert deleted.purge_at - deleted.updated_at == timedelta(days=30)
        assert await lives.traces(database) == before
        restored = await admin.restore("acme")
        assert (restored.tenant.state, restored.purge_at) == (state, None)
        assert await admin.restore("acme") == restored


async def test_the_settings_say_how_long_it_can_be_restored(database: Database) -> None:
    async with provision.administrator(database.settings(deletion_grace_days=3)) as admin:
        first = await admin.delete("acme")
        assert first.purge_at is not None
        assert first.purge_at - first.updated_at == timedelta(days=3)
        assert (await admin.delete("acme")).purge_at == first.purge_at
        moved = await admin.delete("acme", after=timedelta(days=5))
        assert moved.purge_at is not None
        assert moved.purge_at - moved.updated_at == timedelta(days=5)
        assert (await admin.restore("acme")).tenant.state is State.ACTIVE
        for days in (-1, 3651):
            with pytest.raises(InvalidGraceError):
                await admin.delete("acme", after=timedelta(days=days))


async def test_whoever_was_deleted_by_hand_comes_back_suspended(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        await admin.connection.execute(
            "UPDATE tenancy.tenants SET state = 'deleting' WHERE slug = 'acme'"
        )
        with pytest.raises(PurgeNotDueError, match="no date"):
            await admin.purge("acme")
        assert (await admin.delete("acme")).purge_at is not None
        assert (await admin.restore("acme")).tenant.state is State.SUSPENDED


async def test_a_deleted_tenant_keeps_its_names(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        first = await admin.create("initech", ["notes.initech.example"])
        await admin.delete("initech")
        with pytest.raises(SlugTakenError):
            await admin.create("initech")
        with pytest.raises(DomainTakenError):
            await admin.create("other", ["notes.initech.example"])
        await admin.purge("initech", early=True)
        second = await admin.create("initech", ["notes.initech.example"])
        assert second.tenant.schema != first.tenant.schema
        assert second.tenant.id != first.tenant.id
        count = f'SELECT count(*) FROM "{second.tenant.schema}".notes'
        assert await admin.connection.fetchval(count) == 0


async def test_only_who_is_deleted_and_due_is_purged(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        await admin.create("initech")
        before = await lives.traces(database)
        for early in (False, True):
            with pytest.raises(NotDeletedError, match="delete it first"):
                await admin.purge("initech", early=early)
        await admin.delete("initech")
        with pytest.raises(PurgeNotDueError, match=r"from \d{4}-\d\d-\d\d"):
            await admin.purge("initech")
        with pytest.raises(UnknownTenantError):
            await admin.purge("nobody", early=True)
        assert await lives.traces(database) == before
        await admin.delete("initech", after=timedelta(0))
        await admin.purge("initech")
    assert [entry for entry in await _audited(database) if entry[1] != "done"] == [
        ("purge", "refused", "not_deleted"),
        ("purge", "refused", "not_deleted"),
        ("purge", "refused", "purge_not_due"),
        ("purge", "begun", None),
    ]


@pytest.mark.parametrize("isolation", ["role", "schema"])
async def test_a_purge_leaves_nothing_and_takes_nothing_else(
    database: Database, isolation: str
) -> None:
    before = await lives.traces(database)
    async with provision.administrator(database.settings(isolation=isolation)) as admin:
        await admin.connection.execute(
            "INSERT INTO shared.languages VALUES ('la', 'Latina') ON CONFLICT DO NOTHING"
        )
        made = await admin.create("initech", ["notes.initech.example"])
        await lives.furnish(admin, made.tenant.schema)
        with_initech = await lives.traces(database)
        assert ("role", made.tenant.schema) in with_initech or isolation == "schema"
        await admin.delete("initech")
        await admin.purge("initech", early=True)
        with pytest.raises(UnknownTenantError):
            await admin.show("initech")
        role = "SELECT true FROM pg_roles WHERE rolname = $1"
        assert not await admin.connection.fetchval(role, made.tenant.schema)
    assert await lives.traces(database) == before
    assert (await _audited(database))[-2:] == [("purge", "begun", None), ("purge", "done", None)]


async def test_a_role_goes_with_what_it_was_granted(database: Database) -> None:
    before = await lives.traces(database)
    async with provision.administrator(database.settings()) as admin:
        role = (await admin.create("initech")).tenant.schema
        async with superuser(database.superuser_url) as conn:
            await conn.execute(
                f"GRANT SELECT ON shared.languages TO {role};"
                f"GRANT TEMPORARY ON DATABASE {database.name} TO {role}"
            )
        await admin.delete("initech")
        await admin.purge("initech", early=True)
    assert await lives.traces(database) == before


async def test_what_the_role_has_in_no_schema_goes_with_it(database: Database) -> None:
    count = "SELECT count(*) FROM pg_largeobject_metadata"
    async with provision.administrator(database.settings()) as admin:
        role = (await admin.create("initech")).tenant.schema
        async with superuser(database.superuser_url) as conn:
            await conn.execute(
                f"SET ROLE {role}; SELECT lo_create(0); "
                "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; RESET ROLE"
            )
            await admin.delete("initech")
            await admin.purge("initech", early=True)
            assert await conn.fetchval(count) == 0
            assert not await conn.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)


async def test_whoever_may_not_drop_the_role_is_told_what_to_grant(
    database: Database, logins: Logins
) -> None:
    async with provision.administrator(database.settings()) as admin:
        role = (await admin.create("initech")).tenant.schema
        await admin.delete("initech")
        async with superuser(database.superuser_url) as conn:
            # Made again by somebody else, and out of reach: on 15 a superuser's is, from 16 on any.
            await conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
            await conn.execute(f"CREATE ROLE {role} SUPERUSER")
            with pytest.raises(DatabaseSetupError, match=f"GRANT {role} TO"):
                await admin.purge("initech", early=True)
            await conn.execute(f"ALTER ROLE {role} NOSUPERUSER")
            await conn.execute(f"GRANT {role} TO {logins.owner} WITH ADMIN OPTION")
        await admin.purge("initech")
        assert not await admin.connection.fetchval(
            "SELECT true FROM pg_roles WHERE rolname = $1", role
        )


async def test_a_role_that_another_database_needs_stays(
    database: Database, empty_database: Database
) -> None:
    async with provision.administrator(database.settings()) as admin:
        role = (await admin.create("initech")).tenant.schema
        async with superuser(empty_database.superuser_url) as conn:
            await conn.execute(
                f"CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO {role}"
            )
            await admin.delete("initech")
            await admin.purge("initech", early=True)
            assert await conn.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
            detail = await admin.connection.fetchval(
                "SELECT detail ->> 'role_stays' FROM tenancy.audit ORDER BY id DESC LIMIT 1"
            )
            assert detail == "true"
            await conn.execute(f"DROP SCHEMA elsewhere; DROP ROLE {role}")


async def test_what_depends_on_the_schema_from_outside_is_not_dropped(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        schema = (await admin.create("initech")).tenant.schema
        async with superuser(database.superuser_url) as conn:
            await admin.delete("initech")
            for make, drop, words in (
                (
                    f"CREATE VIEW shared.report AS SELECT body FROM {schema}.notes",
                    "DROP VIEW shared.report",
                    "view shared.report",
                ),
                (
                    f"CREATE TABLE shared.pinned (note bigint REFERENCES {schema}.notes)",
                    "DROP TABLE shared.pinned",
                    "constraint pinned_note_fkey",
                ),
                (
                    f"CREATE TABLE shared.owned (); ALTER TABLE shared.owned OWNER TO {schema}",
                    "DROP TABLE shared.owned",
                    "table shared.owned",
                ),
            ):
                await conn.execute(make)
                before = await lives.traces(database)
                with pytest.raises(SchemaSharedError, match=words):
                    await admin.purge("initech", early=True)
                assert await lives.traces(database) == before
                await conn.execute(drop)
        assert (await admin.restore("initech")).tenant.state is State.ACTIVE


async def test_whoever_holds_a_lock_is_named_and_waited_for(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        schema = (await admin.create("initech")).tenant.schema
        await admin.delete("initech")
        async with superuser(database.superuser_url) as conn:
            await conn.execute("SET application_name = 'nightly report'")
            reading = conn.transaction()
            await reading.start()
            await conn.execute(f"SELECT FROM {schema}.notes")
            with pytest.raises(SchemaInUseError, match="nightly report"):
                await admin.purge("initech", early=True, wait_seconds=0)
            with pytest.raises(PurgeBegunError):
                await admin.restore("initech")
            with pytest.raises(PurgeBegunError):
                await admin.delete("initech", after=timedelta(days=1))
            waiting = asyncio.create_task(admin.purge("initech", wait_seconds=60))
            await conn.execute("SELECT pg_sleep(0.3)")
            assert not waiting.done()
            await reading.rollback()
            await waiting
    assert (await _audited(database))[-5:] == [
        ("purge", "failed", "schema_in_use"),
        ("restore", "refused", "purge_begun"),
        ("delete", "refused", "purge_begun"),
        ("purge", "begun", None),
        ("purge", "done", None),
    ]


async def test_nobody_waits_behind_a_purge_for_a_table_that_all_share(database: Database) -> None:
    read = "SELECT count(*) FROM shared.languages"
    async with provision.administrator(database.settings()) as admin:
        schema = (await admin.create("initech")).tenant.schema
        await lives.furnish(admin, schema)
        await admin.delete("initech")
        async with (
            superuser(database.superuser_url) as slow,
            superuser(database.admin_url) as quick,
        ):
            reading = slow.transaction()
            await reading.start()
            await slow.execute(read)
            purging = asyncio.create_task(admin.purge("initech", early=True, wait_seconds=60))
            while not await quick.fetchval(  # noqa: ASYNC110 - the server sets no event
                "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted "
                "AND relation = 'shared.languages'::regclass"
            ):
                await asyncio.sleep(0.005)
            for _ in range(20):
                await asyncio.wait_for(quick.fetchval(read), 30)  # or as long as `slow` reads
            assert not purging.done()
            await reading.rollback()
            await purging


async def test_a_schema_that_is_being_migrated_is_not_purged(database: Database) -> None:
    async with (
        provision.administrator(database.settings()) as admin,
        provision.administrator(database.settings()) as other,
    ):
        schema = (await admin.create("initech")).tenant.schema
        await admin.delete("initech")
        oid = await admin.connection.fetchval("SELECT $1::text::regnamespace::oid", schema)
        await other.connection.execute(f"SELECT pg_advisory_lock(7306118, {oid})")
        with pytest.raises(LockHeldError, match="tenancy admin"):
            await admin.purge("initech", early=True, wait_seconds=0)
        assert (await admin.restore("initech")).tenant.state is State.ACTIVE
        await other.connection.execute("SELECT pg_advisory_unlock_all()")
        await admin.delete("initech")
        await admin.purge("initech", early=True)


async def test_a_tenant_without_a_schema_can_be_purged(database: Database) -> None:
    before = await lives.traces(database)
    async with provision.administrator(database.settings()) as admin:
        schema = (await admin.create("initech")).tenant.schema
        await admin.connection.execute(f"DROP SCHEMA {schema} CASCADE")
        await admin.delete("initech")
        await admin.purge("initech", early=True)
    left = set(await lives.traces(database)) - set(before)
    assert {kind for kind, _ in left} <= {"ledger"}  # `repair` forgets schemas that are gone


async def test_hooks_refuse_a_purge_before_it_drops_and_undo_its_end(database: Database) -> None:
    hooks = Hooks()
    seen: list[tuple[str, object]] = []

    @hooks.before(Step.PURGE)
    async def before(event: Event) -> None:
        seen.append(("before", event.slug))
        if len(seen) == 1:
            raise RuntimeError("an invoice is open")

    @hooks.after(Step.PURGE)
    async def after(event: Event) -> None:
        assert event.conn is not None
        assert not await event.conn.fetchval(
            "SELECT count(*) FROM tenancy.tenants WHERE slug = $1", event.slug
        )
        seen.append(("after", event.profile and event.profile.tenant.slug))
        if len(seen) == 3:
            raise RuntimeError("the archive is away")

    @hooks.committed(Step.PURGE)
    async def committed(event: Event) -> None:
        seen.append(("committed", event.conn))

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        await admin.create("initech")
        await admin.delete("initech")
        whole = await lives.traces(database)
        with pytest.raises(HookFailedError, match="invoice"):
            await admin.purge("initech", early=True)
        assert await lives.traces(database) == whole
        with pytest.raises(HookFailedError, match="archive"):
            await admin.purge("initech", early=True)
        assert ("tenant", "initech") in await lives.traces(database)
        await admin.purge("initech")
    assert seen[3:] == [("before", "initech"), ("after", "initech"), ("committed", None)]


async def test_a_purge_that_is_cut_anywhere_goes_on(
    database: Database, seed: int, long: bool
) -> None:
    """In its long form after each statement; else after one in six, by chance."""
    rng = random.Random(seed)
    before = await lives.traces(database)
    statements = 0
    cut = True
    while cut:
        statements += 1 if long else rng.randint(2, 10)
        async with provision.administrator(database.settings()) as admin:
            schema = (await admin.create("initech")).tenant.schema
            await lives.furnish(admin, schema)
            await admin.delete("initech")
            lives.cut_after(admin.connection, statements)
            try:
                await admin.purge("initech", early=True)
                cut = False
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                pass
        async with provision.administrator(database.settings()) as admin:
            try:
                found = await admin.show("initech")
            except UnknownTenantError:
                pass
            else:
                assert found.tenant.state is State.DELETING
                await admin.purge("initech", early=True)
        assert await lives.traces(database) == before, f"cut after statement {statements}"
    assert statements > 30


async def test_a_tenant_that_is_just_being_restored_is_not_purged(database: Database) -> None:
    hooks, may_end = Hooks(), asyncio.Event()

    @hooks.after(Step.RESTORE)
    async def after(_: Event) -> None:
        await may_end.wait()

    settings = database.settings()
    async with (
        provision.administrator(settings, hooks=hooks) as admin,
        provision.administrator(settings) as other,
        superuser(database.superuser_url) as conn,
    ):
        await admin.create("initech")
        before = await lives.traces(database)
        await admin.delete("initech")
        restoring = asyncio.create_task(admin.restore("initech"))
        waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
        written = "SELECT state = 'idle in transaction' FROM pg_stat_activity WHERE pid = $1"
        pid = admin.connection.get_server_pid()
        while not await conn.fetchval(written, pid):  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.005)
        purging = asyncio.create_task(other.purge("initech", early=True))
        while not await conn.fetchval(waits):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.005)
        may_end.set()
        await restoring
        with pytest.raises(NotDeletedError):
            await purging
        assert (await admin.show("initech")).tenant.state is State.ACTIVE
    assert await lives.traces(database) == before


async def test_two_purges_at_once_are_one(database: Database) -> None:
    before = await lives.traces(database)
    async with provision.administrator(database.settings()) as admin:
        schema = (await admin.create("initech")).tenant.schema
        await lives.furnish(admin, schema)
        await admin.delete("initech")

    async def purge() -> object:
        async with provision.administrator(database.settings()) as admin:
            try:
                await admin.purge("initech", early=True)
            except (LockHeldError, UnknownTenantError) as error:
                return type(error)
            return None

    results = await asyncio.gather(*(purge() for _ in range(4)))
    assert results.count(None) == 1
    assert await lives.traces(database) == before


async def test_requests_of_others_go_on_and_those_of_the_deleted_do_not(
    database: Database,
) -> None:
    async def seen(tenancy: Tenancy) -> str | None:
        try:
            async with tenancy.transaction("initech", readonly=True) as conn:
                return str(await conn.fetchval("SELECT current_user"))
        except UnknownTenantError:
            return None

    async def unseen(tenancy: Tenancy) -> bool:
        return await seen(tenancy) is None

    async def seen_as(tenancy: Tenancy, role: str) -> bool:
        return await seen(tenancy) == role

    settings = database.settings()
    async with provision.administrator(settings) as admin:
        first = await admin.create("initech")
        async with Tenancy(settings=settings) as tenancy:
            assert await seen(tenancy) == first.tenant.schema
            await admin.delete("initech")
            await until(lambda: unseen(tenancy))
            await admin.purge("initech", early=True)
            async with tenancy.transaction("acme") as conn:
                await conn.execute("INSERT INTO notes (body) VALUES ('x')")
            second = await admin.create("initech")
            await until(lambda: seen_as(tenancy, second.tenant.schema))
