"""Canary, waves, soak, the rule that stops a run, who is chosen, and how far they go."""

import asyncio
import json

import pytest
from support.fleets import ASLEEP, Fleet

from tenancy.errors import UnknownTenantError, UnknownVersionError
from tenancy.migrate import Options, Outcome
from tenancy.migrate.report.events import RunEvent, Started, WaveBegun, WaveEnded
from tenancy.migrate.report.outcomes import Ending

SLUGS = [f"tenant-{number:02}" for number in range(24)]
FAILS = "DO $$ BEGIN IF current_schema() LIKE '{}' THEN RAISE 'odd'; END IF; END $$;"


@pytest.fixture
async def many(fleet: Fleet) -> Fleet:
    """Tenants tenant-00 to tenant-23, with nothing yet."""
    await fleet.add(*SLUGS)
    return fleet


async def _last_run(fleet: Fleet) -> tuple[object, ...]:
    (run,) = await fleet.fetch(
        "SELECT outcome, options FROM tenancy.runs ORDER BY started_at DESC LIMIT 1"
    )
    return run


# Waves


async def test_without_options_one_of_many_goes_first_and_a_failure_there_stops_the_run(
    many: Fleet,
) -> None:
    many.write("tenant/0002_odd.sql", FAILS.format("t_tenant_00"))
    report = await many.up()
    assert [(r.tenant, r.outcome, r.applied) for r in report.results] == [
        ("tenant-00", Outcome.FAILED, ("0001",))
    ]
    assert (report.ending, report.exit_code(), report.left) == (Ending.STOPPED, 7, 23)
    assert report.stopped == "the canary failed"
    assert (await _last_run(many))[0] == "stopped"
    assert await many.fetch("SELECT wave, count(*) FROM tenancy.work GROUP BY 1 ORDER BY 1") == [
        (0, 1),
        (1, 23),
    ]


async def test_waves_come_one_after_the_other(many: Fleet) -> None:
    events: list[RunEvent] = []
    options = Options(canary="tenant-07,tenant-03", wave_size="10")
    report = await many.up(options=options, observe=events.append)
    assert report.exit_code() == 0
    order = [str(result.tenant) for result in report.results]
    assert set(order[:2]) == {"tenant-03", "tenant-07"}
    others = [slug for slug in SLUGS if slug not in order[:2]]
    assert [set(order[2:12]), set(order[12:22]), set(order[22:])] == [
        set(others[:10]),
        set(others[10:20]),
        set(others[20:]),
    ]
    started = [event for event in events if isinstance(event, Started)]
    assert [(event.command, event.schemas, event.waves) for event in started] == [("up", 24, 4)]
    waves = [event for event in events if isinstance(event, WaveBegun)]
    assert [(e.number, e.schemas) for e in waves] == [(0, 2), (1, 10), (2, 10), (3, 2)]
    assert [e.number for e in events if isinstance(e, WaveEnded)] == [0, 1, 2, 3]
    assert await many.fetch("SELECT * FROM tenancy.work") == []


async def test_a_canary_that_is_nobody_is_an_error_before_anything_is_applied(many: Fleet) -> None:
    with pytest.raises(UnknownTenantError, match="umbrella"):
        await many.up(options=Options(canary="tenant-00,umbrella"))
    assert set((await many.versions()).values()) == {None}


async def test_the_soak_is_between_waves_and_ends_at_once_when_told_to_stop(many: Fleet) -> None:
    stop = asyncio.Event()
    options = Options(canary="1", soak_seconds=3600)

    def observe(event: RunEvent) -> None:
        if isinstance(event, WaveEnded):
            assert event.soak_seconds == 3600
            asyncio.get_running_loop().call_later(0.1, stop.set)

    async with asyncio.timeout(20):
        report = await many.up(options=options, stop=stop, observe=observe)
    assert (report.ending, report.left) == (Ending.INTERRUPTED, 23)


async def test_there_is_no_soak_after_the_last_wave(many: Fleet) -> None:
    async with asyncio.timeout(20):
        report = await many.up(options=Options(canary="0", soak_seconds=3600))
    assert report.exit_code() == 0


# The rule for failures


async def test_three_alike_in_a_row_stop_the_run(many: Fleet) -> None:
    many.write("tenant/0002_bad.sql", "SELECT nope;")
    report = await many.up(parallel=1, options=Options(canary="0"))
    assert [r.outcome for r in report.results] == [Outcome.FAILED] * 3
    assert report.stopped == "3 in a row failed alike at 0002 [42703]"
    assert (report.exit_code(), report.left) == (7, 21)


async def test_so_many_may_fail_and_one_more_stops_the_run(many: Fleet) -> None:
    many.write("tenant/0002_odd.sql", FAILS.format("t_tenant%5"))  # 05 and 15
    report = await many.up(parallel=1, options=Options(canary="0", max_failures="1"))
    assert report.stopped == "2 of 24 failed, more than is allowed"
    assert [r.tenant for r in report.results if r.faulty] == ["tenant-05", "tenant-15"]
    assert report.left == 8


async def test_with_100_percent_nothing_stops_the_run(many: Fleet) -> None:
    many.write("tenant/0002_bad.sql", "SELECT nope;")
    report = await many.up(options=Options(canary="0", max_failures="100%"))
    assert (len(report.results), report.exit_code(), report.left) == (24, 3, 0)


async def test_those_who_failed_so_before_are_last_and_stop_nothing(many: Fleet) -> None:
    await many.up()
    many.write("tenant/0002_odd.sql", FAILS.format("t_tenant_0%"))  # ten of them
    await many.up(options=Options(canary="0", max_failures="100%"))
    await many.add("young")
    report = await many.up(parallel=1, options=Options(canary="0"))
    assert report.results[0].tenant == "young"
    assert sorted(str(r.tenant) for r in report.results[1:]) == SLUGS[:10]
    assert (report.exit_code(), report.stopped) == (3, "")


# How far


async def test_a_run_can_end_before_the_newest_file_and_leaves_those_beyond_alone(
    many: Fleet,
) -> None:
    for number in (2, 3):
        many.write(f"tenant/000{number}_t.sql", f"CREATE TABLE t{number} (id int);")
    await many.up(tenants=["tenant-00"])
    report = await many.up(options=Options(target="2"))
    assert {r.applied for r in report.results} == {("0001", "0002")}
    assert len(report.results) == 23
    assert (report.ending, report.left) == (Ending.CURRENT, 0)
    again = await many.up(options=Options(target="0002"))
    assert (again.results, again.run_id) == ((), None)
    assert {r.applied for r in (await many.up()).results} == {("0003",)}
    with pytest.raises(UnknownVersionError, match="0007"):
        await many.up(options=Options(target="0007"))


# Who


async def test_tenants_are_chosen_by_what_is_said_of_them(fleet: Fleet) -> None:
    await fleet.add("acme", "globex")
    await fleet.add("initech", state="suspended")
    await fleet.add("going", state="deleting")
    await fleet.execute(
        """UPDATE tenancy.tenants SET settings = '{"plan": "free", "seats": 3}'
        WHERE slug IN ('acme', 'initech')"""
    )

    async def chosen(*arguments: str) -> set[str]:
        done = await fleet.asked("plan", "--json", *arguments)
        assert done.code == 0, done.err
        objects = [json.loads(line) for line in done.out.splitlines()]
        return {o["tenant"] for o in objects if o["event"] == "schema"}

    assert await chosen() == {"acme", "globex", "initech"}
    assert await chosen("--exclude", "acme", "--exclude", "initech") == {"globex"}
    assert await chosen("--state", "suspended,deleting") == {"initech", "going"}
    assert await chosen("--tenant", "going") == {"going"}
    assert await chosen("--where", "plan=free", "--where", "seats=3") == {"acme", "initech"}
    assert await chosen("--where", "plan=free", "--state", "active") == {"acme"}
    await fleet.up(tenants=["globex"])
    fleet.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    assert await chosen("--at", "1") == {"globex"}
    assert await chosen("--behind", "1") == {"acme", "initech"}
    assert await chosen("--behind", "0002") == {"acme", "globex", "initech"}
    assert await chosen("--at", "0002") == set()  # all have gone on: no mistake


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tenant", "umbrella"], "no tenant has the slug umbrella"),
        (["--exclude", "umbrella"], "no tenant has the slug umbrella"),
        (["--state", "read_only"], "no tenant is read_only"),
        (["--state", "gone"], "gone is no state of a tenant"),
        (["--where", "plan=gold"], "no tenant is one whose settings say plan=gold"),
        (["--where", "gold"], "write KEY=VALUE"),
        (["--exclude", "acme"], "no tenant is other than acme"),
        (["--canary", "umbrella"], "no tenant has the slug umbrella"),
        (["--canary", "1.5"], "write 3 or 5%"),
        (["--max-failures", "many"], "write 3 or 5%"),
        (["0007"], "no tenant file has the version '0007'"),
    ],
)
async def test_who_means_nobody_is_told_so(fleet: Fleet, arguments: list[str], words: str) -> None:
    await fleet.add("acme")
    only_up = "--max-failures" in arguments
    done = await (fleet.command("up", *arguments) if only_up else fleet.asked("plan", *arguments))
    assert (done.code, words in done.err) == (2, True), done.err
    assert await fleet.versions() == {"acme": None}


async def test_a_tenant_renamed_or_suspended_mid_run_is_the_same_schema(fleet: Fleet) -> None:
    await fleet.add("acme", "globex")
    fleet.write("tenant/0002_slow.sql", "SELECT pg_sleep(0.5);")
    run = asyncio.create_task(fleet.up(parallel=1))
    await fleet.until(ASLEEP)
    await fleet.execute(
        "UPDATE tenancy.tenants SET slug = 'hooli' WHERE slug = 'acme';"
        "UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'globex'"
    )
    report = await run
    assert [r.schema for r in report.results] == ["t_acme", "t_globex"]
    assert await fleet.versions() == {"hooli": "0002", "globex": "0002"}


async def test_a_tenant_dropped_before_its_turn_is_no_failure(many: Fleet) -> None:
    many.write("tenant/0002_slow.sql", "SELECT pg_sleep(0.3);")
    run = asyncio.create_task(
        many.up(options=Options(canary="1", tenants=("tenant-00", "tenant-01")))
    )
    await many.until(ASLEEP)
    await many.execute(
        "DROP SCHEMA t_tenant_01 CASCADE; DELETE FROM tenancy.tenants WHERE slug = 'tenant-01'"
    )
    report = await run
    assert [r.tenant for r in report.results] == ["tenant-00"]
    assert (report.exit_code(), report.left) == (0, 0)


# Shapes


async def test_a_shape_that_differs_is_a_warning_and_a_failure_only_if_asked(fleet: Fleet) -> None:
    await fleet.add("acme", "globex", "initech")
    await fleet.execute("CREATE TABLE t_globex.left_over (id int)")
    report = await fleet.up(parallel=1, options=Options(fingerprints=True))
    assert {r.tenant: r.shape for r in report.results} == {
        "acme": "",
        "globex": "shape differs from 1 others that have the same files",
        "initech": "",
    }
    assert report.exit_code() == 0
    status = await fleet.asked("status")
    assert "globex (t_globex): shape differs from 2 others at the same files" in status.out

    fleet.write("tenant/0002_more.sql", "CREATE TABLE more (id int);")
    strict = await fleet.command("--strict-shape", "--parallel", "1")
    assert strict.code == 3
    assert "globex (t_globex): warning: shape differs from" in strict.out


async def test_without_fingerprints_no_shape_is_read(fleet: Fleet) -> None:
    await fleet.add("acme", "globex")
    await fleet.up(options=Options(fingerprints=False))
    assert await fleet.fetch(
        "SELECT count(*) FROM tenancy.checkpoints WHERE fingerprint IS NOT NULL"
    ) == [(0,)]
