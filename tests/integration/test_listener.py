"""What is changed is seen by LISTEN/NOTIFY: the times to live here are an hour."""

import asyncio
import logging
from collections.abc import AsyncIterator

import asyncpg
import pytest
from support.changes import (
    LISTENERS,
    execute,
    heard,
    until,
    until_listening,
)
from support.databases import Database, Logins, Open, drop_database, make_database
from support.wire import CUT, HOLD, PASS, Wire, wire

from tenancy import Tenancy, provision
from tenancy.errors import DatabaseUnavailableError, MisdirectedHostError, UnknownTenantError
from tenancy.registry import listener, lookup
from tenancy.resolvers import KeyKind, TenantKey

NEVER = {"registry_ttl_seconds": 3600, "registry_negative_ttl_seconds": 3600}


@pytest.fixture
async def elsewhere(server_url: str, logins: Logins, template: Database) -> AsyncIterator[Database]:
    """Another database with the same tenants."""
    database = await make_database(server_url, logins, template.name)
    yield database
    await drop_database(server_url, database)


async def _whose(tenancy: Tenancy, kind: KeyKind, name: str) -> str | None:
    try:
        return (await tenancy.registry.find(TenantKey(kind, name))).slug
    except (UnknownTenantError, MisdirectedHostError):
        return None


async def _until_whose(tenancy: Tenancy, kind: KeyKind, name: str, slug: str | None) -> None:
    async def so() -> bool:
        return await _whose(tenancy, kind, name) == slug

    await until(so, f"{kind} {name} is {slug}")


async def _until_state(tenancy: Tenancy, slug: str, state: str) -> float:
    async def so() -> bool:
        return (await tenancy.find(slug)).state == state

    return await until(so, f"{slug} is {state}")


async def test_a_change_of_state_is_seen(open_tenancy: Open, database: Database) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        for state in ("suspended", "read_only", "active"):
            await execute(
                database, f"UPDATE tenancy.tenants SET state = '{state}' WHERE slug = 'acme'"
            )
            await _until_state(tenancy, "acme", state)


async def test_a_new_tenant_is_seen_where_its_name_was_unknown(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        assert await _whose(tenancy, KeyKind.SLUG, "initech") is None
        async with provision.administrator(database.settings()) as admin:
            made = await admin.create("initech", ["initech.test"])
        await _until_whose(tenancy, KeyKind.SLUG, "initech", "initech")
        await _until_whose(tenancy, KeyKind.DOMAIN, "initech.test", "initech")
        assert (await tenancy.find("initech")).version == made.tenant.version


async def test_a_negative_answer_that_was_kept_is_dropped(
    open_tenancy: Open, database: Database
) -> None:
    """With more tenants than may be kept, an unknown name is looked up and remembered."""
    async with open_tenancy(**NEVER, registry_max_entries=1) as tenancy:
        assert await _whose(tenancy, KeyKind.SLUG, "initech") is None
        assert tenancy.registry._memory._absent
        async with provision.administrator(database.settings()) as admin:
            await admin.create("initech")
        await _until_whose(tenancy, KeyKind.SLUG, "initech", "initech")


async def test_a_new_slug_is_seen_and_the_old_one_gone(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        assert await _whose(tenancy, KeyKind.SLUG, "acme") == "acme"
        await execute(database, "UPDATE tenancy.tenants SET slug = 'new' WHERE slug = 'acme'")
        await _until_whose(tenancy, KeyKind.SLUG, "acme", None)
        await _until_whose(tenancy, KeyKind.SLUG, "new", "new")


async def test_slugs_that_change_places_lead_to_the_right_tenants(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        before = {slug: (await tenancy.find(slug)).id for slug in ("acme", "globex")}
        await execute(
            database,
            "BEGIN; UPDATE tenancy.tenants SET slug = 'aside' WHERE slug = 'acme'; "
            "UPDATE tenancy.tenants SET slug = 'acme' WHERE slug = 'globex'; "
            "UPDATE tenancy.tenants SET slug = 'globex' WHERE slug = 'aside'; COMMIT",
        )

        async def swapped() -> bool:
            return (await tenancy.find("acme")).id == before["globex"] and (
                await tenancy.find("globex")
            ).id == before["acme"]

        await until(swapped)
        assert await _whose(tenancy, KeyKind.SLUG, "aside") is None


async def test_a_domain_is_seen_moved_unverified_and_removed(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        insert = "INSERT INTO tenancy.domains (name, tenant_id, verified_at) VALUES"
        owner = "(SELECT id FROM tenancy.tenants WHERE slug = '{}')"
        for change, slug in (
            (f"{insert} ('shop.test', {owner.format('acme')}, now())", "acme"),
            (f"UPDATE tenancy.domains SET tenant_id = {owner.format('globex')}", "globex"),
            ("UPDATE tenancy.domains SET verified_at = NULL", None),
            ("UPDATE tenancy.domains SET verified_at = now()", "globex"),
            ("DELETE FROM tenancy.domains", None),
        ):
            await execute(database, change)
            await _until_whose(tenancy, KeyKind.DOMAIN, "shop.test", slug)


async def test_a_deleted_tenant_is_gone(open_tenancy: Open, database: Database) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        tenant_id = str((await tenancy.find("acme")).id)
        await execute(database, "DELETE FROM tenancy.tenants WHERE slug = 'acme'")
        await _until_whose(tenancy, KeyKind.SLUG, "acme", None)
        assert await _whose(tenancy, KeyKind.ID, tenant_id) is None
        await execute(database, "TRUNCATE tenancy.tenants CASCADE")
        await _until_whose(tenancy, KeyKind.SLUG, "globex", None)


async def test_a_checkpoint_is_seen(open_tenancy: Open, database: Database) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        assert (await tenancy.find("acme")).version == "0001"
        schema = (await tenancy.find("acme")).schema
        await execute(
            database,
            f"UPDATE tenancy.checkpoints SET version = '0002' WHERE schema_name = '{schema}'",
        )

        async def ahead() -> bool:
            return (await tenancy.find("acme")).version == "0002"

        await until(ahead, "checkpoint")
        assert (await tenancy.find("globex")).version == "0001"


async def test_what_is_told_is_an_id_once_for_each_transaction(database: Database) -> None:
    conn = await asyncpg.connect(database.admin_url)
    acme = await conn.fetchrow("SELECT id, schema_name FROM tenancy.tenants WHERE slug = 'acme'")
    change = "UPDATE tenancy.tenants SET settings = settings WHERE slug = 'acme'"
    advance = "UPDATE tenancy.checkpoints SET digest = digest WHERE schema_name = '{}'"
    async with heard(database) as payloads:
        await conn.execute(f"BEGIN; {change}; {change}; {advance.format(acme[1])}; COMMIT")
        await conn.execute(f"BEGIN; {change}; ROLLBACK")
        await conn.execute("UPDATE tenancy.tenants SET settings = settings WHERE false")
        await conn.execute("UPDATE tenancy.checkpoints SET digest = digest WHERE stage = 'shared'")
        await conn.execute(
            "INSERT INTO tenancy.tenants (slug, schema_name) "
            "SELECT 'many-' || n, 't_many_' || n FROM generate_series(1, 101) AS n"
        )
        await conn.execute("NOTIFY tenancy_registry, 'the end'")

        async def ended() -> bool:
            return "the end" in payloads

        await until(ended)
    await conn.close()
    assert payloads == [str(acme["id"]), "all", "the end"]


async def test_a_domain_that_moves_tells_of_both_tenants(database: Database) -> None:
    conn = await asyncpg.connect(database.admin_url)
    ids = await conn.fetch("SELECT id FROM tenancy.tenants WHERE slug IN ('acme', 'globex')")
    await conn.execute(
        "INSERT INTO tenancy.domains (name, tenant_id) VALUES ('shop.test', $1)", ids[0]["id"]
    )
    async with heard(database) as payloads:
        await conn.execute("UPDATE tenancy.domains SET tenant_id = $1", ids[1]["id"])

        async def both() -> bool:
            return sorted(payloads) == sorted(str(row["id"]) for row in ids)

        await until(both)
    await conn.close()


async def test_nobody_else_can_use_the_trigger_function(database: Database) -> None:
    conn = await asyncpg.connect(database.superuser_url)
    try:
        assert not await conn.fetchval(
            "SELECT has_function_privilege('public', 'tenancy.notify_changes()', 'EXECUTE')"
        )
        with pytest.raises(asyncpg.FeatureNotSupportedError):
            await conn.execute("SELECT tenancy.notify_changes()")
    finally:
        await conn.close()


async def test_whoever_changes_the_registry_need_not_be_allowed_to_call_pg_notify(
    open_tenancy: Open, database: Database
) -> None:
    conn = await asyncpg.connect(database.superuser_url)
    await conn.execute("REVOKE EXECUTE ON FUNCTION pg_notify(text, text) FROM PUBLIC")
    await conn.close()
    async with open_tenancy(**NEVER) as tenancy:
        await execute(database, "UPDATE tenancy.tenants SET state = 'suspended'")
        await _until_state(tenancy, "acme", "suspended")


async def test_a_flood_of_notifications_is_read_a_few_times(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        reads: list[bool] = []
        catch_up = tenancy.registry.catch_up

        async def counted(fetch: lookup.Fetch, *, everything: bool) -> None:
            reads.append(everything)
            await catch_up(fetch, everything=everything)

        tenancy.registry.catch_up = counted  # type: ignore[method-assign]
        await execute(
            database,
            "DO $$ BEGIN FOR n IN 1..10000 LOOP "
            "EXECUTE format('NOTIFY tenancy_registry, %L', gen_random_uuid()); END LOOP; END $$; "
            "UPDATE tenancy.tenants SET state = 'suspended'",
        )
        await _until_state(tenancy, "acme", "suspended")
        memory = tenancy.registry._memory
        assert len(memory.changed) <= 1000

        async def caught_up() -> bool:
            return not memory.changed and not memory.all_changed

        await until(caught_up)
        assert reads
        assert tenancy.registry.listening
        print(f"10,000 notifications: read {len(reads)} times")
        assert len(reads) < 100


async def test_a_forged_notification_changes_nothing(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        before = await tenancy.find("acme")
        for payload in ("", "all", "echo", "echo x", "'; DROP", str(before.id), "x" * 7000):
            await execute(
                database, f"NOTIFY tenancy_registry, '{payload.replace(chr(39), chr(39) * 2)}'"
            )
        await execute(
            database, "UPDATE tenancy.tenants SET state = 'suspended' WHERE slug <> 'acme'"
        )
        await _until_state(tenancy, "globex", "suspended")
        assert await tenancy.find("acme") == before


# A listener that is lost


async def test_a_lost_listener_comes_back_and_sees_what_changed_meanwhile(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(**NEVER) as tenancy:
        refuse = f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS "
        conn = await asyncpg.connect(database.superuser_url)
        other = await asyncpg.connect(database.superuser_url.replace(database.name, "postgres"))
        await tenancy.find("acme")
        await other.execute(f"{refuse} false")
        await conn.execute(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {LISTENERS}"
        )
        await conn.execute("UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'acme'")
        await asyncio.sleep(0.3)
        assert (await tenancy.find("acme")).state == "active"  # nobody has told us
        await other.execute(f"{refuse} true")
        await _until_state(tenancy, "acme", "suspended")
        assert tenancy.registry.listening
        await conn.close()
        await other.close()


async def test_without_a_listener_a_tenant_lives_for_its_time_to_live(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A black hole: the connection stays open, and nothing comes through it any more."""
    monkeypatch.setattr(listener, "ANSWER_SECONDS", 0.5)
    async with wire(database.app_url) as hole:
        settings = database.settings(
            registry_listen_database_url=hole.url, registry_ttl_seconds=1.0
        )
        async with Tenancy(settings=settings) as tenancy:
            assert tenancy.registry.listening
            hole.verdict = lambda _: HOLD
            await until_listening(tenancy, listening=False)
            await execute(database, "UPDATE tenancy.tenants SET state = 'suspended'")
            await _until_state(tenancy, "acme", "suspended")
            hole.verdict = lambda _: PASS
            await until_listening(tenancy)


async def test_a_silent_connection_is_noticed_before_the_time_to_live_is_over(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEEPALIVE_SECONDS", "ANSWER_SECONDS", "CONNECT_SECONDS"):
        monkeypatch.setattr(listener, name, 0.5)
    async with wire(database.app_url) as hole:
        settings = database.settings(registry_listen_database_url=hole.url, **NEVER)
        async with Tenancy(settings=settings) as tenancy:
            hole.verdict = lambda _: HOLD

            async def noticed() -> bool:
                return "connection is lost" in caplog.text

            caplog.set_level(logging.INFO, listener.__name__)
            await until(noticed, "a silent connection is noticed")
            await execute(database, "UPDATE tenancy.tenants SET state = 'suspended'")
            hole.verdict = lambda _: PASS
            await _until_state(tenancy, "acme", "suspended")


async def test_what_passes_no_notifications_on_is_noticed_and_said_once(
    database: Database,
    elsewhere: Database,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As behind a pooler: the connection is well, and what happens is told to others."""
    monkeypatch.setattr(listener, "ECHO_SECONDS", 0.1)
    monkeypatch.setattr(listener, "DEAF_RETRY_SECONDS", 0.1)
    settings = database.settings(
        registry_listen_database_url=elsewhere.app_url, registry_ttl_seconds=0.5
    )
    async with Tenancy(settings=settings) as tenancy:
        assert not tenancy.registry.listening
        await execute(database, "UPDATE tenancy.tenants SET state = 'suspended'")
        await _until_state(tenancy, "acme", "suspended")
        await asyncio.sleep(0.5)  # for more attempts
        said = [r.getMessage() for r in caplog.records if "not heard of" in r.getMessage()]
        assert len(said) == 1
        assert "TENANCY_REGISTRY_LISTEN_DATABASE_URL" in said[0]


async def test_a_catalog_without_triggers_is_noticed(
    open_tenancy: Open, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await execute(database, "ALTER TABLE tenancy.domains DISABLE TRIGGER notify_update")
    async with open_tenancy(registry_ttl_seconds=0.3) as tenancy:
        assert not tenancy.registry.listening
        assert "python -m tenancy.migrate" in caplog.text
        await execute(database, "UPDATE tenancy.tenants SET state = 'suspended'")
        await _until_state(tenancy, "acme", "suspended")


async def test_stopping_leaves_no_task_and_no_session(database: Database) -> None:
    before = asyncio.all_tasks()
    for _ in range(3):
        async with Tenancy(settings=database.settings()) as tenancy:
            assert tenancy.registry.listening
    assert asyncio.all_tasks() == before
    conn = await asyncpg.connect(database.superuser_url)

    async def none_left() -> bool:
        return not await conn.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {LISTENERS}")

    await until(none_left)
    await conn.close()


async def test_a_change_at_the_moment_of_stopping_does_not_hold_it_up(database: Database) -> None:
    for yields in range(30):
        tenancy = Tenancy(settings=database.settings())
        await tenancy.start()
        following = tenancy.registry._listener
        assert following is not None
        for _ in range(yields % 5):
            await asyncio.sleep(0)
        following._notified(None, 0, "", "all")
        for _ in range(yields // 5 % 3):
            await asyncio.sleep(0)
        async with asyncio.timeout(4):
            await tenancy.stop()


async def test_a_database_that_is_away_is_served_from_memory(database: Database) -> None:
    async with wire(database.app_url) as line:
        settings = database.settings(database_url=line.url, registry_ttl_seconds=2.0)
        async with Tenancy(settings=settings) as tenancy:
            await _cut(line)
            assert (await tenancy.find("acme")).state == "active"
            assert (await tenancy.find("globex")).state == "active"
            await execute(database, "UPDATE tenancy.tenants SET state = 'suspended'")

            async def refused() -> bool:
                try:
                    await tenancy.find("acme")
                except DatabaseUnavailableError:
                    return True
                return False

            await until(refused)
            line.verdict = lambda _: PASS
            await until_listening(tenancy)
            assert (await tenancy.find("acme")).state == "suspended"


async def _cut(line: Wire) -> None:
    line.verdict = lambda _: CUT
    for link in line._links:
        link.cancel()
    await asyncio.gather(*line._links, return_exceptions=True)


@pytest.mark.parametrize("isolation", ["schema", "role", "strict"])
async def test_changes_are_heard_at_every_isolation_level(
    open_tenancy: Open, database: Database, isolation: str
) -> None:
    async with open_tenancy(**NEVER, isolation=isolation) as tenancy:
        assert tenancy.registry.listening
        await execute(database, "UPDATE tenancy.tenants SET state = 'suspended'")
        await _until_state(tenancy, "acme", "suspended")
