"""Backfills: each row exactly once, whatever happens in between."""

import asyncio
import random
import re
from pathlib import Path

import pytest
from support.fleets import Fleet, kill

from tenancy import provision
from tenancy.migrate import Outcome
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.report.events import Backfilling, Event
from tenancy.migrate.upgrade.runner import Upgrade
from tenancy.migrate.upgrade.session import Session

COUNTERS = """
    CREATE TABLE counters (id bigint PRIMARY KEY, v int NOT NULL DEFAULT 0);
    INSERT INTO counters SELECT n, 0 FROM generate_series(1, {rows}) AS n;
    ANALYZE counters;
"""
COUNT = """# migrate:up transaction:false lock_timeout:200ms

async def up(context):
    async for batch in context.batches("counters", {options}):
        await batch.conn.execute(
            "UPDATE counters SET v = v + 1 WHERE id = ANY($1::bigint[])", batch.keys
        )
        {then}
"""
ONCE = "SELECT count(*), count(*) FILTER (WHERE v = 1) FROM {}.counters"
WORKING = (
    "SELECT count(*) {} 0 FROM pg_stat_activity WHERE datname = current_database() "
    "AND query LIKE '%counters%' AND pid <> pg_backend_pid()"
)
LOSE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND (query LIKE '%counters%' OR query LIKE '%backfills%')"
)
DONE = "SELECT done, finished_at IS NOT NULL FROM tenancy.backfills"


async def _counters(
    fleet: Fleet, rows: int, *slugs: str, options: str = "", then: str = ""
) -> None:
    """Tenants with as many rows, and a file that adds one to each."""
    fleet.write("tenant/0002_counters.sql", COUNTERS.format(rows=rows))
    await fleet.add(*(slugs or ("acme",)))
    (await fleet.up()).raise_for_failures()
    fleet.write("tenant/0003_count.py", COUNT.format(options=options, then=then))


async def _failure(fleet: Fleet) -> str:
    report = await fleet.up()
    assert [r.outcome for r in report.results] == [Outcome.FAILED]
    return report.results[0].why


async def test_each_row_is_met_once(fleet: Fleet) -> None:
    await _counters(fleet, 2_500)
    report = await fleet.up()
    assert [(r.outcome, r.applied) for r in report.results] == [(Outcome.APPLIED, ("0003",))]
    assert await fleet.fetch(ONCE.format("t_acme")) == [(2_500, 2_500)]
    assert await fleet.fetch(
        "SELECT version, name, done, total, columns FROM tenancy.backfills"
    ) == [("0003", "counters", 2_500, 2_500, ["counters", "id"])]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id uuid PRIMARY KEY", "md5(n::text)::uuid"),
        ('"Id" text PRIMARY KEY', "repeat('ö', n % 3) || chr(200 + n) || n || '\"\\'''"),
        ('id varchar(9) COLLATE "C" PRIMARY KEY', "to_hex(n * 7919)"),
        ("id timestamptz PRIMARY KEY", "'2020-02-02'::timestamptz + n * interval '1.000001 s'"),
        ("id numeric PRIMARY KEY", "n / 7.0"),
        ("id float8 PRIMARY KEY", "CASE n WHEN 3 THEN '-infinity' ELSE n / 3.0::float8 END"),
        ("id mood PRIMARY KEY", "(enum_range(NULL::mood))[n]"),
        ("id bytea PRIMARY KEY", "decode(md5(n::text), 'hex')"),
        ("a int, b text, PRIMARY KEY (b, a)", "n / 3, chr(90 + n % 7)"),
        ("id int UNIQUE NOT NULL", "-n"),
        ("id int NOT NULL, x int, UNIQUE (id) INCLUDE (x)", "n, -n"),
    ],
)
async def test_a_backfill_goes_on_where_it_was_along_any_key(
    fleet: Fleet, key: str, value: str
) -> None:
    rows = 40
    moods = ", ".join(f"'m{n}'" for n in range(rows))
    fleet.write(
        "tenant/0002_keyed.sql",
        f"CREATE TYPE mood AS ENUM ({moods}); CREATE TABLE trouble (); "
        f'CREATE TABLE "Keyed" ({key}, v int DEFAULT 0); '
        f'INSERT INTO "Keyed" SELECT {value} FROM generate_series(1, {rows}) AS n; '
        "INSERT INTO trouble DEFAULT VALUES;",
    )
    columns = {"a": ("b", "a"), '"Id"': ("Id",)}.get(key.split(maxsplit=1)[0], ("id",))
    named = ", ".join(f'"{column}"' for column in columns)
    fleet.write(
        "tenant/0003_count.py",
        f"""# migrate:up transaction:false
TYPES = (
    "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
    "WHERE attrelid = $1::regclass AND attname = $2"
)

async def up(context):
    seen = 0
    async for batch in context.batches("Keyed", key={columns}, size=7):
        seen += 1
        if seen == 4 and await context.conn.fetchval("SELECT count(*) FROM trouble"):
            raise RuntimeError
        types = [await context.conn.fetchval(TYPES, '"Keyed"', each) for each in {columns}]
        arrays = ", ".join(f"${{n}}::{{kind}}[]" for n, kind in enumerate(types, 1))
        await batch.conn.execute(
            f'UPDATE "Keyed" SET v = v + 1 WHERE ({named}) IN (SELECT * FROM unnest({{arrays}}))',
            *batch.columns,
        )
""",
    )
    await fleet.add("acme")
    await fleet.up()
    assert await fleet.fetch(DONE) == [(21, False)]
    assert await fleet.fetch('SELECT v, count(*) FROM t_acme."Keyed" GROUP BY v ORDER BY v') == [
        (0, 19),
        (1, 21),
    ]
    await fleet.execute("TRUNCATE t_acme.trouble")
    (await fleet.up()).raise_for_failures()
    assert await fleet.fetch('SELECT v, count(*) FROM t_acme."Keyed" GROUP BY v') == [(1, rows)]


async def test_rows_the_condition_is_not_true_of_are_passed_over(fleet: Fleet) -> None:
    where = 'size=10, where="id % 3 = 0 -- a third"'
    await _counters(fleet, 90, options=where)
    (await fleet.up()).raise_for_failures()
    assert await fleet.fetch(ONCE.format("t_acme")) == [(90, 30)]
    assert await fleet.fetch(DONE) == [(30, True)]


async def test_a_loop_that_has_ended_is_passed_over(fleet: Fleet) -> None:
    await _counters(fleet, 30, options="size=10")
    path = fleet.sql / "tenant/0003_count.py"
    path.write_text(
        path.read_text() + "    async for batch in context.batches('notes'):\n"
        "        assert not await context.conn.fetchval('SELECT count(*) FROM notes')\n"
    )
    await fleet.execute("INSERT INTO t_acme.notes (body) VALUES ('a')")
    assert "AssertionError" in await _failure(fleet)
    await fleet.execute("INSERT INTO t_acme.counters VALUES (31); DELETE FROM t_acme.notes")
    (await fleet.up()).raise_for_failures()
    assert await fleet.fetch(ONCE.format("t_acme")) == [(31, 30)]


async def test_files_of_both_kinds_follow_each_other(fleet: Fleet) -> None:
    await _counters(fleet, 30, options="size=10")
    for version in ("0004", "0006"):
        fleet.write(
            f"tenant/{version}_more.py",
            "async def up(context):\n    async with context.conn.transaction():\n"
            "        await context.conn.execute('UPDATE counters SET v = v - 1')\n",
        )
    text = (fleet.sql / "tenant/0003_count.py").read_text()
    for version in ("0005", "0007"):
        fleet.write(f"tenant/{version}_count.py", text)
    (await fleet.up()).raise_for_failures()
    assert await fleet.versions() == {"acme": "0007"}
    assert await fleet.fetch(ONCE.format("t_acme")) == [(30, 30)]


async def test_a_way_back_has_loops_of_its_own(fleet: Fleet) -> None:
    await _counters(fleet, 30, options="size=10")
    path = fleet.sql / "tenant/0003_count.py"
    up = path.read_text()
    down = up.replace("def up", "def down").replace("v + 1", "v - 1").replace(":up", ":down")
    path.write_text(up + down)
    for _ in range(2):
        (await fleet.up()).raise_for_failures()
        assert await fleet.fetch(ONCE.format("t_acme")) == [(30, 30)]
        result = await fleet.asked("down", "--to", "0002", "--tenant", "acme", "--yes")
        assert result.code == 0, result
        assert await fleet.fetch(ONCE.format("t_acme")) == [(30, 0)]
        assert await fleet.versions() == {"acme": "0002"}


async def test_schemas_side_by_side_share_nothing(fleet: Fleet) -> None:
    slugs = [f"tenant-{n}" for n in range(8)]
    await _counters(fleet, 200, *slugs, options="size=30")
    (await fleet.up(parallel=4)).raise_for_failures()
    for slug in slugs:
        schema = f"t_{slug.replace('-', '_')}"
        assert await fleet.fetch(ONCE.format(schema)) == [(200, 200)]


async def test_a_new_tenant_is_made_in_one_transaction_with_its_backfills(fleet: Fleet) -> None:
    await _counters(fleet, 250, options="size=100, throttle=60")
    async with provision.administrator(fleet.settings) as admin:
        schema = (await admin.create("globex")).tenant.schema
    assert await fleet.fetch(ONCE.format(schema)) == [(250, 250)]
    assert not await fleet.fetch(f"SELECT FROM tenancy.backfills WHERE schema_name = '{schema}'")


# Killed, lost, locked out, told to stop


async def test_a_runner_killed_at_any_moment_repeats_and_skips_nothing(
    fleet: Fleet, long: bool, seed: int
) -> None:
    chance = random.Random(seed)
    rows = 60_000 if long else 3_000
    await _counters(fleet, rows, "acme", "globex", options="size=50, throttle=0.01")
    before = dict.fromkeys(("t_acme", "t_globex"), 0)
    while sum(before.values()) < rows:  # of both
        process = await fleet.start("up", "--parallel", "2")
        await fleet.until(WORKING.format(">"))
        await asyncio.sleep(chance.uniform(0, 0.3))
        await kill(process)
        await fleet.until(WORKING.format("="))  # the server has noticed
        before = await _whole(fleet, before)
    (await fleet.up()).raise_for_failures()
    for schema in before:
        assert await fleet.fetch(ONCE.format(schema)) == [(rows, rows)]


async def _whole(fleet: Fleet, before: dict[str, int]) -> dict[str, int]:
    """Pass if the cursor says what was done, and is not behind *before*; return it."""
    after = {}
    for schema, least in before.items():
        ((done,),) = await fleet.fetch(
            f"SELECT coalesce(sum(done), 0) FROM tenancy.backfills WHERE schema_name = '{schema}'"
        )
        ((counted, most),) = await fleet.fetch(f"SELECT sum(v), max(v) FROM {schema}.counters")
        assert (done, most <= 1) == (counted, True)
        assert done >= least
        after[schema] = done
    return after


async def test_a_lost_connection_goes_on_with_the_next_one(
    fleet: Fleet, long: bool, seed: int
) -> None:
    chance = random.Random(seed)
    # More often than a file is tried that stands still.
    rows, kills = (40_000, 60) if long else (5_000, 6)
    await _counters(fleet, rows, options="size=10, rest=0")
    done = [0]
    running = asyncio.create_task(fleet.up())
    async with fleet.connection() as conn:
        while kills and not running.done():
            await asyncio.sleep(chance.uniform(0, 0.05))
            now = await conn.fetchval("SELECT coalesce(sum(done), 0) FROM tenancy.backfills")
            if now != done[-1] and (lost := await conn.fetchval(LOSE)):
                kills -= lost
                done.append(now)
    (await running).raise_for_failures()
    assert not kills
    assert done == sorted(done)
    assert await fleet.fetch(ONCE.format("t_acme")) == [(rows, rows)]


async def test_a_batch_that_met_a_lock_is_done_again(fleet: Fleet) -> None:
    await _counters(fleet, 300, options="size=100")
    async with fleet.connection() as conn:
        async with conn.transaction():
            await conn.execute("SELECT FROM t_acme.counters WHERE id = 150 FOR UPDATE")
            running = asyncio.create_task(fleet.up())
            waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'transactionid'"
            await fleet.until(waits)
            await fleet.until(f"SELECT NOT ({waits})")  # it gave up
            await fleet.until(waits)
        (await running).raise_for_failures()
    assert await fleet.fetch(ONCE.format("t_acme")) == [(300, 300)]


async def test_a_run_that_is_told_to_stop_leaves_between_two_batches(fleet: Fleet) -> None:
    await _counters(fleet, 600, options="size=10, throttle=0.01")
    fleet.write("tenant/0004_later.sql", "CREATE TABLE later (id int)")
    stop = asyncio.Event()
    running = asyncio.create_task(fleet.up(stop=stop))
    await fleet.until("SELECT count(*) > 0 FROM tenancy.backfills WHERE done > 50")
    stop.set()
    report = await running
    assert (report.exit_code(), report.left) == (143, 1)
    assert not [result for result in report.results if result.tenant]
    ((done, finished),) = await fleet.fetch(DONE)
    assert 50 < done < 600
    assert not finished
    assert await fleet.fetch("SELECT sum(v) FROM t_acme.counters") == [(done,)]
    assert not await fleet.fetch("SELECT FROM tenancy.failures")
    status = await fleet.asked("status")
    assert f"backfill counters: {done} of 600 rows" in status.out
    (await fleet.up()).raise_for_failures()
    assert await fleet.fetch(ONCE.format("t_acme")) == [(600, 600)]


async def test_a_second_session_that_is_at_it_without_the_lock_does_nothing_twice(
    fleet: Fleet,
) -> None:
    await _counters(fleet, 300, options="size=100", then="await context.conn.execute(TRY)")
    path = fleet.sql / "tenant/0003_count.py"
    path.write_text(path.read_text() + "TRY = 'SELECT pg_sleep(0.2)'")
    running = asyncio.create_task(fleet.up())
    await fleet.until("SELECT count(*) > 0 FROM tenancy.backfills WHERE done = 100")
    await fleet.execute("UPDATE tenancy.backfills SET done = 200, cursor = '[200]'")
    report = await running
    assert "somebody else is at it" in report.results[0].why


# Misuse


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            'async for batch in context.batches("counters", size=10):\n        break',
            "the loop over counters was left before its end",
        ),
        ('context.batches("counters")', "the loop over counters was left before its end"),
        (
            'async for batch in context.batches("counters"):\n'
            '        async for inner in context.batches("other"): pass',
            "the loop over other begins in the middle of a batch of counters",
        ),
        (
            'async for batch in context.batches("counters"): pass\n'
            '    async for batch in context.batches("counters"): pass',
            "a second loop called counters: give each a name=",
        ),
        (
            "async with context.conn.transaction():\n"
            '        async for batch in context.batches("counters"): pass',
            "begins inside a transaction of the file's own",
        ),
        (
            'async for batch in context.batches("counters"):\n'
            '        await batch.conn.execute("COMMIT")',
            "the file ended the migrator's transaction",
        ),
        (
            'async for batch in context.batches("counters"):\n'
            '        await batch.conn.execute("SET LOCAL search_path = public")',
            "the file left another search_path",
        ),
        ('async for batch in context.batches("nothing"): pass', "'nothing' is no table"),
        ('async for batch in context.batches("keyless"): pass', "keyless has no primary key"),
        (
            'async for batch in context.batches("keyless", key="n"): pass',
            "a column of the key of keyless may be NULL",
        ),
        (
            'async for batch in context.batches("keyless", key="m"): pass',
            r"keyless has no unique index on \(m\), in this order",
        ),
        (
            'async for batch in context.batches("keyless", key="k"): pass',
            "keyless has a key of a type",
        ),
        ('async for batch in context.batches("counters", size=0): pass', "size and seconds are"),
        (
            'loop = context.batches("counters", size=5)\n'
            "    async for batch in loop: pass\n"
            "    async for batch in loop: pass",
            "the loop over counters has begun",
        ),
    ],
)
async def test_a_loop_that_could_leave_rows_out_fails_the_file(
    fleet: Fleet, body: str, why: str
) -> None:
    fleet.write(
        "tenant/0002_counters.sql",
        COUNTERS.format(rows=30) + "CREATE TABLE other (id int PRIMARY KEY); "
        "CREATE TABLE keyless (n int UNIQUE, m int NOT NULL, k int[] UNIQUE NOT NULL); "
        "CREATE INDEX ON keyless (m)",
    )
    await fleet.add("acme")
    (await fleet.up()).raise_for_failures()
    fleet.write(
        "tenant/0003_odd.py",
        f"# migrate:up transaction:false\nasync def up(context):\n    {body}\n",
    )
    assert re.search(why, await _failure(fleet))
    assert await fleet.versions() == {"acme": "0002"}


async def test_batches_want_a_file_that_is_no_transaction(fleet: Fleet) -> None:
    await _counters(fleet, 10)
    path = fleet.sql / "tenant/0003_count.py"
    path.write_text(
        path.read_text().replace("# migrate:up transaction:false lock_timeout:200ms", "")
    )
    assert "write `# migrate:up transaction:false`" in await _failure(fleet)


async def test_a_cursor_of_another_key_is_not_gone_on_with(fleet: Fleet) -> None:
    await _counters(fleet, 30, options="size=10", then="raise RuntimeError")
    await fleet.execute("ALTER TABLE t_acme.counters ADD UNIQUE (v, id)")
    path = fleet.sql / "tenant/0003_count.py"
    text = path.read_text()
    path.write_text(
        text.replace("size=10", 'size=10, key=("v", "id")').replace("keys", "columns[1]")
    )
    why = await _failure(fleet)
    assert "RuntimeError" in why
    path.write_text(text)
    assert "went along counters, v, id before, and now along counters, id" in await _failure(fleet)


async def test_a_failing_batch_says_where_and_tells_no_key(fleet: Fleet) -> None:
    fleet.write(
        "tenant/0002_people.sql",
        "CREATE TABLE people (email text PRIMARY KEY, age text); INSERT INTO people "
        "SELECT n || 'topsecret', CASE WHEN n = 7 THEN 'topsecret' ELSE n::text END "
        "FROM generate_series(1, 9) AS n; ALTER TABLE people ADD years int;",
    )
    await fleet.add("acme")
    (await fleet.up()).raise_for_failures()
    fleet.write(
        "tenant/0003_years.py",
        "# migrate:up transaction:false\n"
        "async def up(context):\n"
        '    async for batch in context.batches("people", size=3):\n'
        "        await batch.conn.execute(\n"
        '            "UPDATE people SET years = age::int WHERE email = ANY($1)", batch.keys\n'
        "        )\n",
    )
    report = await fleet.up()
    (failure,) = [result.failure for result in report.results]
    assert failure is not None
    assert (failure.place, failure.sqlstate) == ("tenant/0003_years.py:4:9", "22P02")
    assert failure.message.endswith("(in the backfill people, after 6 rows)")
    stored = await fleet.fetch("SELECT * FROM tenancy.failures")
    status = await fleet.asked("status")
    assert "topsecret" not in f"{report!r} {stored!r} {status!r}"
    await fleet.execute("UPDATE t_acme.people SET age = '7' WHERE age = 'topsecret'")
    (await fleet.up()).raise_for_failures()
    assert await fleet.fetch("SELECT count(*) FROM t_acme.people WHERE years::text = age") == [(9,)]


async def test_progress_is_told_after_each_batch(fleet: Fleet) -> None:
    await _counters(fleet, 250, options="size=100")
    told: list[Event] = []
    async with Session(fleet.settings) as session:
        schema = await checkpoints.schema(await session.connection(), "t_acme")
        assert schema is not None
        await Upgrade(
            session, schema, fleet.files.tenant, None, shared="shared", watch=told.append
        ).run()
    assert told == [Backfilling("t_acme", "count counters", done, 250) for done in (100, 200, 250)]


# The guide


GUIDE = (Path(__file__).parents[2] / "sql" / "README.md").read_text()


async def test_the_guides_examples_run_as_written(fleet: Fleet) -> None:
    section = GUIDE.partition("\n## Python files and backfills\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    fleet.write(
        "tenant/0002_more.sql",
        "ALTER TABLE notes ADD title text, ADD slug text; "
        "INSERT INTO notes (body, title) VALUES ('Q &amp; A', 'First Note'), ('plain', 'Second');"
        "CREATE TABLE seats (row text, number int, label text, PRIMARY KEY (row, number)); "
        "INSERT INTO seats SELECT chr(65 + n % 9), n FROM generate_series(1, 1200) AS n;",
    )
    await fleet.add("acme")
    (await fleet.up()).raise_for_failures()
    for number, example in enumerate(examples, 3):
        fleet.write(f"tenant/{number:04}_example.py", example)
    assert (await fleet.up()).results[0].applied == ("0003", "0004", "0005")
    assert await fleet.fetch("SELECT body, slug FROM t_acme.notes ORDER BY id") == [
        ("Q & A", "first-note"),
        ("plain", "second"),
    ]
    assert await fleet.fetch(
        "SELECT count(*) FROM t_acme.seats WHERE label = row || '-' || number"
    ) == [(1_200,)]
