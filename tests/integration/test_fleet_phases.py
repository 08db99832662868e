"""Files that are no single transaction: a part of a wave by themselves, few at a time."""

import asyncio

import pytest
from support.fleets import Fleet

from tenancy.migrate import Options
from tenancy.migrate.report.events import RunEvent, WaveBegun

INDEX = "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY {0} ON notes (body);"


@pytest.fixture
async def mixed(fleet: Fleet) -> Fleet:
    """Files 0001, 0002 and 0004 are one transaction each, 0003 is none; eight tenants."""
    fleet.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    fleet.write("tenant/0003_index.sql", INDEX.format("notes_body"))
    fleet.write("tenant/0004_last.sql", "CREATE TABLE last (id int);")
    await fleet.add(*(f"tenant-{number}" for number in range(8)))
    return fleet


async def _order(fleet: Fleet) -> list[list[str]]:
    """The versions of tenants' files, in the order in which they began, alike ones as one."""
    rows = await fleet.fetch(
        "SELECT version FROM tenancy.migrations WHERE stage = 'tenant' ORDER BY applied_at"
    )
    found: list[list[str]] = [[]]
    for (version,) in rows:
        if version in {"0003", "0004"} and found[-1][:1] != [version]:
            found.append([])
        found[-1].append(str(version))
    return found


async def test_a_whole_wave_comes_to_a_concurrent_file_before_any_of_it_is_built(
    mixed: Fleet,
) -> None:
    events: list[RunEvent] = []
    report = await mixed.up(options=Options(wave_size="4", canary="0"), observe=events.append)
    assert report.exit_code() == 0
    assert {r.applied for r in report.results} == {("0001", "0002", "0003", "0004")}
    assert len(report.results) == 8
    assert [e.phases for e in events if isinstance(e, WaveBegun)] == [("0002", "0003", "0004")] * 2
    first, *others = await _order(mixed)
    assert sorted(first) == ["0001"] * 4 + ["0002"] * 4
    assert others[0] == ["0003"] * 4
    assert sorted(others[1]) == ["0001"] * 4 + ["0002"] * 4 + ["0004"] * 4
    assert others[2] == ["0003"] * 4
    assert others[3] == ["0004"] * 4


async def test_few_of_them_run_at_a_time(mixed: Fleet) -> None:
    seen: list[int] = []

    async def count() -> None:
        async with mixed.connection() as conn:
            while True:
                seen.append(
                    await conn.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                        "AND datname = current_database() AND query LIKE '%CONCURRENTLY%' "
                        "AND pid <> pg_backend_pid()"
                    )
                )

    await mixed.up(options=Options(target="0002"))
    # A snapshot that is older holds the builds up until they can be counted.
    async with mixed.connection() as old:
        await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        counting = asyncio.create_task(count())
        run = asyncio.create_task(mixed.up(parallel=8, options=Options(parallel_concurrent=3)))
        async with asyncio.timeout(20):
            while max(seen, default=0) < 3:  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        await old.execute("COMMIT")
        assert (await run).exit_code() == 0
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
    assert max(seen) == 3


async def test_a_schema_that_fails_before_it_is_left_out_of_the_next_part(mixed: Fleet) -> None:
    await mixed.execute("CREATE TABLE t_tenant_3.more (id int)")
    report = await mixed.up()
    failed = [(r.tenant, r.applied) for r in report.results if r.faulty]
    assert failed == [("tenant-3", ("0001",))]
    assert sum(len(r.applied) == 4 for r in report.results) == 7
    assert report.exit_code() == 3


async def test_schemas_at_different_places_go_through_the_parts_together(mixed: Fleet) -> None:
    await mixed.up(tenants=["tenant-0", "tenant-1"], options=Options(target="0003"))
    await mixed.up(tenants=["tenant-2"], options=Options(target="0002"))
    report = await mixed.up()
    applied = {str(r.tenant): r.applied for r in report.results}
    assert applied["tenant-0"] == applied["tenant-1"] == ("0004",)
    assert applied["tenant-2"] == ("0003", "0004")
    assert applied["tenant-7"] == ("0001", "0002", "0003", "0004")


async def test_plan_names_the_parts(mixed: Fleet) -> None:
    done = await mixed.asked("plan")
    assert (
        "in parts: 0001 to 0002, 4 schemas at a time; 0003, no single transaction, 2 at a time; "
        "0004, 4 schemas at a time"
    ) in done.out
