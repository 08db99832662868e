"""One piece of work for every tenant at once."""

import asyncio
import gc
from collections.abc import Callable

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy
from support.databases import Database, Open

from tenancy import Tenancy, Tenant, migrate, provision, tenant
from tenancy.errors import NoTenantError, TenancyError, TenantMismatchError
from tenancy.fanout import Each

COUNT = "SELECT count(*) FROM notes"
MANY = 12


async def _make(database: Database, count: int = MANY) -> None:
    async with provision.administrator(database.settings()) as admin:
        for number in range(count):
            await admin.create(f"many-{number:02}")


async def _set_state(database: Database, slug: str, state: str) -> None:
    conn = await asyncpg.connect(database.superuser_url)
    await conn.execute("UPDATE tenancy.tenants SET state = $2 WHERE slug = $1", slug, state)
    await conn.close()


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - the pool sets no event
            await asyncio.sleep(0.01)


async def _slugs(tenancy: Tenancy, states: tuple[str, ...]) -> set[str]:
    return {whose.slug async for whose, _ in tenancy.each("SELECT 1", states=states)}


async def _notes(tenancy: Tenancy) -> dict[str, int]:
    """How many notes each tenant has that has any."""
    found = {}
    async for whose, rows in tenancy.each(COUNT):
        assert not isinstance(rows, BaseException)
        found[whose.slug] = rows[0]["count"]
    return {slug: count for slug, count in found.items() if count}


async def test_each_tenant_answers_with_its_own_rows(open_tenancy: Open) -> None:
    async with open_tenancy() as tenancy:
        async with tenancy.transaction("acme") as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ('a'), ('b')")
        found = {
            whose.slug: rows[0]["count"]
            async for whose, rows in tenancy.each(f"{COUNT} WHERE body <> $1", "b")
            if not isinstance(rows, BaseException)
        }
    assert found == {"acme": 1, "globex": 0}


async def test_a_function_works_in_the_tenants_scope_and_commits(
    database: Database, open_tenancy: Open
) -> None:
    await _make(database)

    async def sign(conn: PoolConnectionProxy, word: str) -> tuple[str, str]:
        slug = tenant.current().slug
        await asyncio.sleep(0)
        await conn.execute("INSERT INTO notes (body) VALUES ($1)", f"{word} {slug}")
        return await conn.fetchval("SELECT current_schema()"), slug

    async with open_tenancy() as tenancy:
        async for whose, result in tenancy.each(sign, "by", parallel=3, readonly=False):
            assert result == (whose.schema, whose.slug)
        count = 0
        async for whose, rows in tenancy.each("SELECT body FROM notes"):
            assert not isinstance(rows, BaseException)
            assert [row["body"] for row in rows] == [f"by {whose.slug}"]
            count += 1
        with pytest.raises(NoTenantError):
            _ = tenancy.tenant
    assert count == MANY + 2


async def test_an_error_of_one_tenant_is_its_result(open_tenancy: Open) -> None:
    async def picky(conn: PoolConnectionProxy) -> int:
        if tenant.current().slug == "acme":
            await conn.execute("SELECT 1 / 0")
        return 7

    async with open_tenancy() as tenancy:
        found = {whose.slug: result async for whose, result in tenancy.each(picky)}
    assert isinstance(found["acme"], asyncpg.DivisionByZeroError)
    assert found["globex"] == 7


async def test_a_cancelled_one_is_a_result_and_no_end(open_tenancy: Open) -> None:
    async def gives_up(_conn: PoolConnectionProxy) -> None:
        raise asyncio.CancelledError

    async with open_tenancy() as tenancy:
        found = [result async for _, result in tenancy.each(gives_up)]
    assert [type(result) for result in found] == [asyncio.CancelledError] * 2


async def test_writes_are_refused_unless_they_are_asked_for(open_tenancy: Open) -> None:
    async with open_tenancy() as tenancy:
        results = [result async for _, result in tenancy.each("DELETE FROM notes")]
        assert {type(result) for result in results} == {asyncpg.ReadOnlySQLTransactionError}
        async for _, result in tenancy.each("DELETE FROM notes", readonly=False):
            assert result == []


async def test_no_more_than_parallel_run_and_none_begins_unasked(
    database: Database, open_tenancy: Open
) -> None:
    await _make(database)
    running, most, begun = 0, 0, 0

    async def work(conn: PoolConnectionProxy) -> None:
        nonlocal running, most, begun
        running, begun = running + 1, begun + 1
        most = max(most, running)
        await conn.execute("SELECT pg_sleep(0.01)")
        running -= 1

    async with open_tenancy(pool_max_size=6) as tenancy:
        results = tenancy.each(work, parallel=3)
        await anext(results)
        await _until(lambda: not running)
        await asyncio.sleep(0.05)  # whoever began more would do it now
        assert begun == 3
        assert len([one async for one in results]) == MANY + 1
        assert most == 3
        begun = most = 0
        assert len([one async for one in tenancy.each(work, parallel=64)]) == MANY + 2
        assert most <= 5, "requests have a connection left"


async def _broken_off(results: Each[None], begun: asyncio.Event, how: str) -> None:
    async for _ in results:
        await begun.wait()
        if how == "break":
            return
        if how == "cancel":
            raise asyncio.CancelledError
        await results.aclose()


@pytest.mark.parametrize("how", ["break", "close", "cancel"])
async def test_an_early_end_rolls_back_what_is_under_way(
    database: Database, open_tenancy: Open, how: str
) -> None:
    await _make(database)
    ended: list[str] = []
    begun = asyncio.Event()

    async def work(conn: PoolConnectionProxy) -> None:
        await conn.execute("INSERT INTO notes (body) VALUES ('half')")
        if tenant.current().slug == first.slug:
            return
        try:
            begun.set()
            await conn.execute("SELECT pg_sleep(600)")
        except asyncio.CancelledError:
            ended.append(tenant.current().slug)
            raise

    async with open_tenancy() as tenancy:
        first = (await anext(tenancy.each("SELECT 1")))[0]
        task = asyncio.create_task(_broken_off(tenancy.each(work, readonly=False), begun, how))
        await asyncio.wait({task})
        assert task.cancelled() == (how == "cancel")
        del task  # and what it holds
        gc.collect()
        await _until(lambda: bool(ended) and tenancy.pool.idle == tenancy.pool.size)
        assert await _notes(tenancy) == {first.slug: 1}


async def test_states_choose_and_a_suspended_tenant_is_only_read(
    database: Database, open_tenancy: Open
) -> None:
    await _set_state(database, "globex", "suspended")
    async with open_tenancy() as tenancy:
        assert await _slugs(tenancy, ("active", "read_only")) == {"acme"}
        assert await _slugs(tenancy, ("suspended",)) == {"globex"}
        written = tenancy.each("DELETE FROM notes", states=["suspended"], readonly=False)
        async for whose, result in written:
            assert whose.slug == "globex"
            assert isinstance(result, asyncpg.ReadOnlySQLTransactionError)
        for states, error in ((["deleting"], ValueError), ("active", TypeError)):
            with pytest.raises(error):
                tenancy.each("SELECT 1", states=states)


async def test_a_tenant_that_is_deleted_meanwhile_is_left_out(
    database: Database, open_tenancy: Open
) -> None:
    async def delete(_conn: PoolConnectionProxy) -> None:
        for slug in ("acme", "globex"):
            if slug != tenant.current().slug:
                await _set_state(database, slug, "deleting")
                await _until(lambda: bool(tenancy.registry.changes > before))

    async with open_tenancy(pool_max_size=2) as tenancy:
        before = tenancy.registry.changes
        results = [one async for one in tenancy.each(delete, parallel=1)]
    assert len(results) == 1
    assert results[0][1] is None


async def test_an_unknown_tenant_in_the_work_itself_is_a_result(open_tenancy: Open) -> None:
    async def ask(_conn: PoolConnectionProxy) -> Tenant:
        return await tenancy.find("nobody")

    async with open_tenancy() as tenancy:
        assert len([one async for one in tenancy.each(ask)]) == 2


async def test_a_tenants_request_may_not_go_through_all(open_tenancy: Open) -> None:
    async with open_tenancy() as tenancy, tenancy.serving("acme"):
        with pytest.raises(TenantMismatchError, match="each"):
            tenancy.each("SELECT 1")


async def test_work_that_is_none_is_refused_at_once(tenancy: Tenancy) -> None:
    async def work(_conn: PoolConnectionProxy) -> None: ...

    for wrong in (work(None), 7):
        with pytest.raises(TypeError):
            tenancy.each(wrong)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="parallel"):
        tenancy.each("SELECT 1", parallel=0)


async def test_one_behind_the_build_is_an_error_of_its_own(database: Database) -> None:
    settings = database.settings()
    (await migrate.migrate(settings)).raise_for_failures()
    async with Tenancy(settings=settings, versions=">=0009") as tenancy:
        results = [result async for _, result in tenancy.each("SELECT 1")]
    assert all(isinstance(result, TenancyError) and result.retryable for result in results)
    assert len(results) == 2
