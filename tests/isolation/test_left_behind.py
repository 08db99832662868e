"""G1, G3, G8: callbacks, tasks, generators and long connections that outlive what made them."""

import asyncio
import gc
import random
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from quart import Quart
from support.asgi import call
from support.databases import Database, Open
from support.notes import PRISTINE, memory, read, write

from tenancy import Tenancy, TenancyError
from tenancy.errors import CommitUnknownError, TenantSuspendedError
from tenancy.tenant import serving

INSERT = "INSERT INTO notes (body) VALUES ('new')"
ACME = [(b"host", b"acme.example.com")]


async def test_a_callback_never_serves_the_tenant_that_opened_the_connection(
    database: Database,
) -> None:
    """asyncpg runs listeners and decoders in the context in which the socket was opened."""
    seen: list[Any] = []

    def note(*_: object) -> None:
        try:
            seen.append(tenancy.tenant.slug)
        except TenancyError:
            seen.append(None)

    async with Tenancy(settings=database.settings(pool_min_size=0, pool_max_size=1)) as tenancy:
        for slug in ("acme", "globex"):
            await tenancy.find(slug)
        await tenancy.pool._pool.expire_connections()

        async def request(slug: str) -> None:
            with serving(await tenancy.find(slug)):
                async with tenancy.transaction() as conn:
                    conn.add_log_listener(note)
                    await conn.execute("DO $$ BEGIN RAISE NOTICE 'private'; END $$")
                    await asyncio.sleep(0.01)

        await asyncio.create_task(request("acme"))
        await asyncio.create_task(request("globex"))
    assert seen == [None, None]


async def test_a_statement_between_commit_and_release_reaches_nobody(
    both: Tenancy, database: Database
) -> None:
    root = await asyncpg.connect(database.superuser_url)
    await root.execute(f"GRANT TEMPORARY ON DATABASE {database.name} TO PUBLIC")
    await root.close()
    poison = (
        "SET statement_timeout = 12345; SELECT pg_advisory_lock(42); "
        "CREATE TEMP TABLE notes (id int)"
    )

    async def child(conn: asyncpg.Connection, leaving: asyncio.Event) -> None:
        while True:
            await asyncio.sleep(0)
            if leaving.is_set():
                try:
                    await conn.execute(poison)
                except asyncpg.InterfaceError as error:
                    if "another operation" not in str(error):
                        return
                except asyncpg.PostgresError:
                    return
                else:
                    return

    for _ in range(20):
        leaving = asyncio.Event()
        with suppress(TenancyError):
            async with both.transaction("acme") as conn:
                task = asyncio.create_task(child(conn, leaving))
                await asyncio.sleep(0)
                leaving.set()
        await task
        assert await memory(both) == PRISTINE
        assert await read(both, "globex") == ["of globex"]


async def test_a_refused_request_saves_nothing_through_a_shielded_task(tenancy: Tenancy) -> None:
    app = Quart(__name__)
    tenancy.init_app(app)
    left: list[asyncio.Task[None]] = []

    async def save() -> None:
        async with tenancy.transaction() as conn:
            await conn.execute(INSERT)
            await asyncio.sleep(0.2)

    @app.get("/")
    async def view() -> str:
        left.append(asyncio.create_task(save()))
        await asyncio.shield(left[0])
        return "saved"

    await tenancy.find("acme")
    request = asyncio.create_task(call(app, ACME))
    await asyncio.sleep(0.1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    with pytest.raises(TenancyError, match="refused at shutdown"):
        await left[0]
    assert await read(tenancy, "acme") == []


async def test_who_is_told_of_a_timeout_has_saved_nothing(tenancy: Tenancy) -> None:
    rng = random.Random(1)
    timed_out: set[str] = set()
    for n in range(200):
        try:
            async with asyncio.timeout(0.001 + rng.random() * 0.006):
                await write(tenancy, "acme", str(n))
        except TimeoutError:
            timed_out.add(str(n))
        except CommitUnknownError:
            pass
    assert timed_out
    assert not timed_out & set(await read(tenancy, "acme"))


async def test_an_abandoned_generator_gives_its_task_back(tenancy: Tenancy) -> None:
    async def rows() -> Any:
        async with tenancy.transaction("acme", readonly=True) as conn:
            for row in await conn.fetch("SELECT generate_series(1, 3)"):
                yield row

    async for _ in rows():
        break
    gc.collect()
    await asyncio.sleep(0.2)
    assert await read(tenancy, "acme") == []
    assert tenancy.pool.idle == tenancy.pool.size


async def test_a_read_only_block_stays_one(both: Tenancy) -> None:
    with pytest.raises((TenancyError, asyncpg.PostgresError)):
        async with both.transaction("acme", readonly=True) as conn:
            await conn.execute("SET TRANSACTION READ WRITE")
            await conn.execute(INSERT)
    assert await read(both, "acme") == ["of acme"]


async def test_a_long_connection_feels_the_suspension_of_its_tenant(
    open_tenancy: Open, owner: asyncpg.Connection
) -> None:
    async with open_tenancy(registry_ttl_seconds=0.1) as tenancy:
        with serving(await tenancy.find("acme")):
            await owner.execute("UPDATE tenancy.tenants SET state = 'suspended'")
            await asyncio.sleep(0.2)
            with pytest.raises(TenantSuspendedError):
                async with tenancy.transaction():
                    pass


async def test_a_statement_named_by_a_view_is_unknown_to_the_next(tenancy: Tenancy) -> None:
    for slug in ("acme", "globex"):
        async with tenancy.transaction(slug, readonly=True) as conn:
            statement = await conn.prepare("SELECT body FROM notes", name="report")
            assert await statement.fetch() == []


async def test_random_numbers_are_not_those_that_another_tenant_has_seeded(both: Tenancy) -> None:
    seen = []
    for _ in range(2):
        async with both.transaction("acme") as conn:
            await conn.fetchval("SELECT setseed(0.42)")
        async with both.transaction("globex") as conn:
            seen.append(await conn.fetchval("SELECT random()"))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("path", ["", "http://[/", "x", "//"])
async def test_an_odd_target_is_no_fault_of_ours(tenancy: Tenancy, path: str) -> None:
    app = Quart(__name__)
    tenancy.init_app(app)
    assert (await call(app, ACME, path)).status in (400, 404)


async def test_a_write_to_a_read_only_tenant_is_forbidden(
    tenancy: Tenancy, owner: asyncpg.Connection
) -> None:
    await owner.execute("UPDATE tenancy.tenants SET state = 'read_only' WHERE slug = 'acme'")
    tenancy.registry.forget()
    app = Quart(__name__)
    tenancy.init_app(app)

    @app.get("/")
    async def view() -> str:
        async with tenancy.transaction() as conn:
            await conn.execute(INSERT)
        return "saved"

    assert (await call(app, ACME)).status == 403


async def test_words_of_an_answer_claim_nothing_of_an_earlier_transaction(
    open_tenancy: Open,
) -> None:
    async with open_tenancy(statement_timeout_seconds=0.2) as tenancy:
        app = Quart(__name__)
        tenancy.init_app(app)

        @app.get("/")
        async def view() -> str:
            async with tenancy.transaction() as conn:
                await conn.execute(INSERT)
            async with tenancy.transaction() as conn:
                await conn.execute("SELECT pg_sleep(2)")
            return "saved"

        answer = await call(app, ACME)
        assert answer.status == 504
        assert b"saved" not in answer.body
        assert await read(tenancy, "acme") == ["new"]


async def test_a_stale_answer_of_the_registry_is_not_remembered(
    tenancy: Tenancy, owner: asyncpg.Connection
) -> None:
    tenancy.registry.forget()
    asking = asyncio.create_task(tenancy.find("acme"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tenancy.registry.forget()
    await asking
    await owner.execute("UPDATE tenancy.tenants SET state = 'suspended'")
    assert (await tenancy.find("acme")).state == "suspended"


@pytest.mark.parametrize("text", ["", ";", "-- only this", "/* or this */ ;"])
async def test_a_text_without_a_statement_is_refused(tenancy: Tenancy, text: str) -> None:
    with pytest.raises(ValueError, match="no statement"):
        async with tenancy.transaction("acme") as conn:
            await conn.execute(text)
    assert await read(tenancy, "acme") == []


async def test_copy_from_stdin_is_refused_before_it_hangs(tenancy: Tenancy) -> None:
    with pytest.raises(ValueError, match="copy_to_table"):
        async with tenancy.transaction("acme") as conn:
            await conn.execute("SELECT 1; COPY notes (body) FROM STDIN")
    assert await read(tenancy, "acme") == []


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'acme'", "tenant_suspended"),
        ("UPDATE tenancy.tenants SET state = 'read_only' WHERE slug = 'acme'", "tenant_read_only"),
        ("UPDATE tenancy.checkpoints SET version = '0009' WHERE stage = 'tenant'", "0009"),
    ],
)
async def test_who_waits_for_a_connection_is_asked_again_when_it_is_there(
    open_tenancy: Open, database: Database, owner: asyncpg.Connection, change: str, outcome: str
) -> None:
    if database.pooled:
        pytest.skip("behind a pooler no change is heard of")
    async with open_tenancy(pool_max_size=1) as tenancy:

        async def waiting() -> str | None:
            try:
                async with tenancy.transaction("acme") as conn:
                    await conn.execute("INSERT INTO notes (body) VALUES ('late')")
            except TenancyError as error:
                return error.code
            return (await tenancy.find("acme")).version

        async with tenancy.transaction("globex"):
            task = asyncio.create_task(waiting())
            await asyncio.sleep(0.05)
            before = tenancy.registry.changes
            await owner.execute(change)
            async with asyncio.timeout(20):
                while tenancy.registry.changes == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert await task == outcome


@pytest.mark.parametrize("state", ["suspended", "read_only", "deleting"])
async def test_a_tenant_that_was_kept_is_asked_for_again(
    both: Tenancy, owner: asyncpg.Connection, state: str
) -> None:
    kept = await both.find("acme")
    await owner.execute("UPDATE tenancy.tenants SET state = $1 WHERE slug = 'acme'", state)
    both.registry.forget()
    with pytest.raises(TenancyError):
        async with both.transaction(kept) as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ('late')")
