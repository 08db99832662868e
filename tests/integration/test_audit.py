"""The audit says who did what, however it ended, and nobody changes what it says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from support.databases import Database, superuser

from tenancy import faults, provision
from tenancy.errors import (
    CommitUnknownError,
    InvalidLimitError,
    SlugTakenError,
    UnknownTenantError,
)
from tenancy.fairness import limits
from tenancy.provision import Actor, Administrator, Event, Hooks, Step, audit, endings
from tenancy.provision.audit import Entry, Outcome, Wanted

LOCK = 4711
CHANGES = {limits.MAX_CONNECTIONS: 3}

# A COMMIT that waits for the test.
SLOW_COMMIT = f"""
    SET LOCAL client_connection_check_interval = 0;
    CREATE TEMPORARY TABLE slow (id int);
    CREATE FUNCTION pg_temp.wait() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.wait();
    INSERT INTO slow VALUES (1);
"""
WAITING = "SELECT pid FROM pg_locks WHERE objid = $1 AND locktype = 'advisory' AND NOT granted"
# Another connection has asked what has become of it, and was told that nobody knows yet.
ASKING = "SELECT true FROM pg_stat_activity WHERE state = 'idle' AND query ~ 'pg_xact_status'"


@asynccontextmanager
async def _held_at_commit(
    database: Database,
) -> AsyncIterator[tuple[Administrator, asyncio.Task[provision.Profile], asyncpg.Connection]]:
    """A step whose COMMIT has been sent, and waits until the third one yielded gives the lock."""
    hooks = Hooks()

    @hooks.after(Step.LIMIT)
    async def slow(event: Event) -> None:
        assert event.conn is not None
        await event.conn.execute(SLOW_COMMIT)

    async with superuser(database.superuser_url) as root:
        await root.execute(f"SELECT pg_advisory_lock({LOCK})")
        async with provision.administrator(database.settings(), hooks=hooks) as admin:
            task = asyncio.create_task(admin.limit("acme", CHANGES))
            while not await root.fetchval(WAITING, LOCK):  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.01)
            yield admin, task, root


async def _entries(database: Database, step: Step = Step.LIMIT) -> tuple[Entry, ...]:
    async with provision.administrator(database.settings()) as admin:
        return await admin.entries(Wanted(action=step))


async def _limit_of_acme(database: Database) -> int | None:
    async with provision.administrator(database.settings()) as admin:
        return (await admin.show("acme")).tenant.limits.max_connections


async def test_a_connection_lost_after_the_commit_has_undone_nothing(database: Database) -> None:
    async with _held_at_commit(database) as (admin, task, root):
        admin.connection.terminate()
        while not await root.fetchval(ASKING):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
        await root.execute(f"SELECT pg_advisory_unlock({LOCK})")
        assert (await task).tenant.limits.max_connections == 3
    assert [entry.outcome for entry in await _entries(database)] == [Outcome.DONE]
    assert await _limit_of_acme(database) == 3


async def test_a_back_end_that_dies_in_its_commit_has_done_nothing(database: Database) -> None:
    async with _held_at_commit(database) as (_, task, root):
        await root.execute("SELECT pg_terminate_backend($1)", await root.fetchval(WAITING, LOCK))
        with pytest.raises(faults.LOST):
            await task
    (entry,) = await _entries(database)
    assert entry.outcome is Outcome.FAILED
    assert await _limit_of_acme(database) is None


async def test_a_commit_that_is_cancelled_is_recorded_as_interrupted(database: Database) -> None:
    async with _held_at_commit(database) as (_, task, _):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (entry,) = await _entries(database)
    assert (entry.outcome, entry.code) == (Outcome.FAILED, "interrupted")
    assert await _limit_of_acme(database) is None


async def test_an_outcome_that_the_server_does_not_know_yet_is_said_to_be_unknown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "PATIENCE_SECONDS", 2.0)
    async with _held_at_commit(database) as (admin, task, root):
        admin.connection.terminate()
        with pytest.raises(CommitUnknownError, match="look whether"):
            await task
        assert [entry.outcome for entry in await _entries(database)] == [Outcome.UNKNOWN]
        await root.execute(f"SELECT pg_advisory_unlock({LOCK})")


async def test_a_step_cancelled_before_its_commit_is_recorded(database: Database) -> None:
    begun = asyncio.Event()
    hooks = Hooks()

    @hooks.after(Step.LIMIT)
    async def stay(_: Event) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        task = asyncio.create_task(admin.limit("acme", CHANGES))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (entry,) = await admin.entries(Wanted(action=Step.LIMIT))
    assert (entry.outcome, entry.code) == (Outcome.FAILED, "interrupted")
    assert await _limit_of_acme(database) is None


async def test_an_entry_says_who_what_to_whom_from_where_and_how_it_ended(
    database: Database,
) -> None:
    actor = Actor("ada", "192.0.2.7")
    async with provision.administrator(database.settings(), actor=actor) as admin:
        made = await admin.create("initech", ["notes.initech.example"])
        with pytest.raises(SlugTakenError):
            await admin.create("initech")
        refused, done = await admin.history("initech")
        login = await admin.connection.fetchval("SELECT session_user::text")
    assert (done.actor, done.source, done.login) == ("ada", "192.0.2.7", login)
    assert (done.action, done.outcome, done.code) == ("create", Outcome.DONE, None)
    assert (done.slug, done.tenant_id) == ("initech", made.tenant.id)
    assert done.detail["domains"] == ["notes.initech.example"]
    assert (refused.outcome, refused.code, refused.tenant_id) == ("refused", "slug_taken", None)
    assert json.loads(json.dumps(refused.as_json()))["at"] == refused.at.isoformat()


async def test_what_was_refused_is_told_of_the_tenant_that_there_is(database: Database) -> None:
    hooks = Hooks()

    @hooks.after(Step.LIMIT, Step.CREATE)
    async def refuse(_: Event) -> None:
        raise InvalidLimitError("no")

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        acme = await admin.show("acme")
        for attempt in (admin.limit("acme", CHANGES), admin.create("initech")):
            with pytest.raises(InvalidLimitError):
                await attempt
        create, limit = (await admin.entries())[:2]
    assert (limit.tenant_id, limit.outcome) == (acme.tenant.id, Outcome.REFUSED)
    assert (create.tenant_id, create.slug) == (None, "initech")


async def test_a_history_follows_the_tenant_and_not_its_slug(database: Database) -> None:
    """Acme is called ajax for the second half of it, and another one is acme by then."""
    async with provision.administrator(database.settings()) as admin:
        await admin.limit("acme", CHANGES)
        await admin.connection.execute("UPDATE tenancy.tenants SET slug = 'ajax' WHERE slug='acme'")
        assert [entry.slug for entry in await admin.history("ajax")] == ["acme", "acme"]
        await admin.limit("ajax", CHANGES)
        assert [entry.slug for entry in await admin.history("acme")] == ["ajax", "acme", "acme"]
        await admin.create("acme")
        assert [entry.action for entry in await admin.history("acme")] == ["create"]
        assert [entry.slug for entry in await admin.history("ajax")] == ["ajax", "acme", "acme"]
        with pytest.raises(UnknownTenantError):
            await admin.history("nobody")


async def test_a_history_is_read_page_by_page_and_once(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        for _ in range(5):
            await admin.limit("globex", CHANGES)
        whole = await admin.history("globex")
        read: list[Entry] = []
        while page := await admin.history("globex", before=read[-1].id if read else None, limit=2):
            assert len(page) <= 2
            read += page
        assert tuple(read) == whole
        assert len(whole) == 6


async def test_entries_are_told_apart_by_all_that_can_be_asked_for(database: Database) -> None:
    settings = database.settings()
    async with provision.administrator(settings, actor=Actor("ada", "here")) as admin:
        acme = await admin.limit("acme", CHANGES)
        before = (await admin.entries())[0]
        with pytest.raises(UnknownTenantError):
            await admin.limit("nobody", CHANGES)
        last = (await admin.entries())[0]
        for wanted, found in (
            (Wanted(actor="ada"), [last, before]),
            (Wanted(actor="ada", outcome=Outcome.REFUSED), [last]),
            (Wanted(slug="nobody"), [last]),
            (Wanted(tenant_id=acme.tenant.id, action=Step.LIMIT), [before]),
            (Wanted(since=last.at), [last]),
            (Wanted(before=last.id, limit=1), [before]),
            (Wanted(actor="bob"), []),
        ):
            assert list(await admin.entries(wanted)) == found, wanted


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tenancy.audit SET actor = 'nobody'",
        "DELETE FROM tenancy.audit",
        "TRUNCATE tenancy.audit",
        "INSERT INTO tenancy.audit (id, actor, source, action, outcome) "
        "VALUES (1, 'a', 'b', 'c', 'done')",
        "UPDATE tenancy.audit SET actor = 'nobody' WHERE false",
        "INSERT INTO tenancy.audit SELECT * FROM tenancy.audit LIMIT 1",
    ],
)
async def test_the_operators_own_login_only_adds(database: Database, change: str) -> None:
    """By its rights first, and by the trigger where it gave them back to itself."""
    conn = await asyncpg.connect(database.admin_url)
    try:
        before = await audit.entries(conn)
        assert before
        refusals = (asyncpg.InsufficientPrivilegeError, asyncpg.GeneratedAlwaysError)
        with pytest.raises(refusals):
            await conn.execute(change)
        if not change.startswith("INSERT"):
            await conn.execute("GRANT ALL ON tenancy.audit TO CURRENT_USER")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await conn.execute(change)
        assert await audit.entries(conn) == before
    finally:
        await conn.close()


async def test_not_even_a_superusers_session_without_triggers_changes_it(
    database: Database,
) -> None:
    async with superuser(database.superuser_url) as root:
        await root.execute("SET session_replication_role = replica")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await root.execute("DELETE FROM tenancy.audit")


async def test_requests_neither_read_nor_write_the_audit(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        role = (await admin.show("acme")).tenant.schema
    conn = await asyncpg.connect(database.app_url)
    try:
        for become in ("SELECT 1", f'SET ROLE "{role}"'):
            await conn.execute(become)
            for attempt in (
                "SELECT FROM tenancy.audit",
                "INSERT INTO tenancy.audit (actor, source, action, outcome) "
                "VALUES ('a', 'b', 'c', 'done')",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await conn.execute(attempt)
    finally:
        await conn.close()


async def test_an_audit_that_cannot_be_written_lets_nothing_happen(database: Database) -> None:
    async with superuser(database.superuser_url) as root:
        await root.execute("ALTER TABLE tenancy.audit ADD CHECK (actor <> 'ada') NOT VALID")
    async with provision.administrator(database.settings(), actor=Actor("ada", "here")) as admin:
        with pytest.raises(asyncpg.CheckViolationError):
            await admin.limit("acme", CHANGES)
    assert await _limit_of_acme(database) is None
