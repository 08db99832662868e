"""Files in Python: what they are given, what they may not leave, and where they failed."""

import asyncio
import re
import sys

import pytest
from support.fleets import Fleet

from tenancy.migrate import Outcome
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.upgrade import python, session
from tenancy.migrate.upgrade.scope import Scope


@pytest.fixture
async def two(fleet: Fleet) -> Fleet:
    """Tenants acme and globex, with notes."""
    await fleet.add("acme", "globex")
    (await fleet.up()).raise_for_failures()
    return fleet


def _write(fleet: Fleet, body: str, *, top: str = "", directive: str = "") -> None:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    text = f"{directive}\n{top}\nasync def up(context):\n{lines}\n"
    fleet.write("tenant/0002_odd.py", text)


async def _failed(fleet: Fleet, outcome: Outcome = Outcome.FAILED) -> str:
    """Run one tenant, which must fail and stay as it was; return why."""
    report = await fleet.up(tenants=["acme"])
    assert [result.outcome for result in report.results] == [outcome]
    assert (await fleet.versions())["acme"] == "0001"
    return report.results[0].why


NOT_ONE = "# migrate:up transaction:false"


async def test_a_file_is_one_transaction_in_the_tenants_schema(two: Fleet) -> None:
    two.write("shared/0001_words.sql", "CREATE TABLE words (word text)")
    _write(
        two,
        "await context.conn.execute('CREATE TABLE facts AS SELECT * FROM words')\n"
        "await context.conn.execute('ALTER TABLE facts ADD schema text, ADD tenant text')\n"
        "await context.conn.executemany('INSERT INTO facts VALUES ($1, $2, $3)', "
        "[('one', context.schema, context.tenant)])",
    )
    (await two.up()).raise_for_failures()
    assert await two.versions() == {"acme": "0002", "globex": "0002"}
    for slug in ("acme", "globex"):
        assert await two.fetch(f"TABLE t_{slug}.facts") == [("one", f"t_{slug}", slug)]


async def test_a_file_that_fails_leaves_nothing(two: Fleet) -> None:
    _write(two, "await context.conn.execute('CREATE TABLE half (id int)')\n1 / 0")
    why = await _failed(two)
    assert why == "tenant/0002_odd.py:5:5: ZeroDivisionError: division by zero"
    assert "t_acme.half" not in await two.tables()


@pytest.mark.parametrize("directive", ["", NOT_ONE])
async def test_a_statement_that_fails_has_its_line_and_no_data(two: Fleet, directive: str) -> None:
    await two.execute("INSERT INTO t_acme.notes (body) VALUES ('topsecret'), ('topsecret')")
    _write(
        two,
        "await helped(context.conn)",
        top="async def helped(conn):\n"
        "    await conn.execute('CREATE UNIQUE INDEX one ON notes (body)')",
        directive=directive,
    )
    why = await _failed(two)
    assert why == "tenant/0002_odd.py:3:5: [23505] unique violation of one"
    stored = await two.fetch("SELECT * FROM tenancy.failures")
    assert "topsecret" not in f"{stored!r} {await two.asked('status')!r}"


async def test_what_a_file_raises_itself_is_printed_and_not_stored(two: Fleet) -> None:
    _write(two, "raise ValueError('odd: topsecret')")
    assert "ValueError: odd: topsecret" in await _failed(two)
    ((place, message),) = await two.fetch("SELECT place, message FROM tenancy.failures")
    assert (place, message) == (
        "tenant/0002_odd.py:4:5",
        "the file raised an error; the run printed its words",
    )


async def test_a_value_that_does_not_fit_is_not_told(two: Fleet) -> None:
    _write(two, "await context.conn.execute('DELETE FROM notes WHERE id = $1', 'topsecret')")
    assert await _failed(two) == (
        "tenant/0002_odd.py:4:5: asyncpg: the value for $1 is not of that parameter's type"
    )


@pytest.mark.parametrize("directive", ["", NOT_ONE])
@pytest.mark.parametrize(
    ("left", "why"),
    [
        ("SET search_path = public", "left another search_path"),
        ("SELECT set_config('search_path', 'public', false)", "left another search_path"),
        ("SET ROLE pg_database_owner", "left another role"),
        ("DISCARD ALL", "has reset its session|cannot run inside a transaction"),
    ],
)
async def test_a_file_that_leaves_its_scope_fails(
    two: Fleet, directive: str, left: str, why: str
) -> None:
    _write(two, f"await context.conn.execute({left!r})", directive=directive)
    failed = await _failed(two)
    assert any(words in failed for words in why.split("|"))


async def test_a_file_that_ends_its_transaction_fails(two: Fleet) -> None:
    _write(two, "await context.conn.execute('COMMIT; BEGIN')")
    assert "ended the migrator's transaction" in await _failed(two)


async def test_a_file_that_leaves_a_transaction_open_fails(two: Fleet) -> None:
    _write(two, "await context.conn.execute('BEGIN')", directive=NOT_ONE)
    assert "left a transaction open" in await _failed(two)


async def test_a_swallowed_error_fails_the_file(two: Fleet) -> None:
    _write(two, "try:\n    await context.conn.execute('SELECT nope')\nexcept Exception:\n    pass")
    assert "[25P02]" in await _failed(two)


async def test_a_savepoint_lets_a_statement_fail(two: Fleet) -> None:
    _write(
        two,
        "import asyncpg\n"
        "try:\n"
        "    async with context.conn.transaction():\n"
        "        await context.conn.execute('DROP TABLE notes; SELECT nope')\n"
        "except asyncpg.UndefinedColumnError:\n"
        "    await context.conn.execute('CREATE TABLE saved (id int)')",
    )
    (await two.up()).raise_for_failures()
    assert {"t_acme.notes", "t_acme.saved"} <= await two.tables()


async def test_a_file_outside_of_transactions_commits_each_statement(two: Fleet) -> None:
    _write(
        two,
        "await context.conn.execute('CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON notes (body)')\n"
        "async with context.conn.transaction():\n"
        "    await context.conn.execute('CREATE TABLE IF NOT EXISTS kept (id int)')\n"
        "if context.tenant == 'globex':\n"
        "    1 / 0",
        directive=NOT_ONE,
    )
    report = await two.up()
    assert {r.tenant: r.outcome for r in report.results} == {
        "acme": Outcome.APPLIED,
        "globex": Outcome.FAILED,
    }
    assert "t_globex.kept" in await two.tables()  # again from the top the next time
    await two.execute("UPDATE tenancy.tenants SET slug = 'initech' WHERE slug = 'globex'")
    (await two.up()).raise_for_failures()


async def test_a_statement_may_take_longer_than_one_of_ours(
    two: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "COMMAND_TIMEOUT_SECONDS", 0.3)
    _write(two, "await (await context.conn.prepare('SELECT pg_sleep(0.6)')).fetch()")
    (await two.up(tenants=["acme"])).raise_for_failures()


async def test_the_files_own_limit_ends_a_statement(two: Fleet) -> None:
    _write(
        two,
        "await context.conn.execute('SELECT pg_sleep(60)')",
        directive="# migrate:up transaction:false statement_timeout:100ms",
    )
    assert "[57014]" in await _failed(two)


async def test_nothing_stays_in_the_session_for_the_next_schema(two: Fleet) -> None:
    _write(
        two,
        "conn = context.conn\n"
        "seen = await conn.fetchrow(\n"
        "    'SELECT to_regclass($$pg_temp.own$$)::text, current_setting($$work_mem$$), '\n"
        "    '(SELECT count(*) FROM pg_prepared_statements WHERE from_sql), '\n"
        "    '(SELECT count(*) FROM pg_locks WHERE locktype = $$advisory$$ AND objid = 77), '\n"
        "    '$${}$$::jsonb'\n"
        ")\n"
        "assert list(seen) == [None, '4MB', 0, 0, '{}'], list(seen)\n"
        "await conn.execute('CREATE TEMP TABLE own (id int); SET work_mem = $$9MB$$; '\n"
        "                   'PREPARE own AS SELECT 1; SELECT pg_advisory_lock(77)')\n"
        "await conn.set_type_codec(\n"
        "    'jsonb', schema='pg_catalog', encoder=str, decoder=lambda _: 'odd')\n"
        "assert await conn.fetchval('SELECT $${}$$::jsonb') == 'odd'",
    )
    (await two.up(parallel=1)).raise_for_failures()


@pytest.mark.parametrize("call", ["close()", "add_listener('a', print)", "terminate()"])
async def test_what_would_stay_with_the_connection_is_refused(two: Fleet, call: str) -> None:
    _write(two, f"await context.conn.{call}")
    assert "is not for migrations" in await _failed(two)


async def test_a_task_left_behind_finds_no_connection(two: Fleet) -> None:
    _write(
        two,
        "async def later():\n"
        "    await asyncio.sleep(0.1)\n"
        "    try:\n"
        "        await context.conn.execute('CREATE TABLE late (id int)')\n"
        "    except Exception as error:\n"
        "        sys.left_behind = error\n"
        "asyncio.get_running_loop().kept = asyncio.create_task(later())",
        top="import asyncio, sys",
    )
    (await two.up(tenants=["acme"])).raise_for_failures()
    await asyncio.wait_for(asyncio.get_running_loop().kept, 5)  # type: ignore[attr-defined]
    assert "the migration that had this connection has ended" in str(sys.left_behind)  # type: ignore[attr-defined]


async def test_two_tasks_at_once_are_told_to_take_turns(two: Fleet) -> None:
    _write(
        two,
        "await asyncio.gather(*(context.conn.execute('SELECT pg_sleep(0.1)') for _ in 'ab'))",
        top="import asyncio",
    )
    assert "two tasks of the file use the connection at once" in await _failed(two)


@pytest.mark.parametrize("ending", ["sys.exit(0)", "raise KeyError('x')", "raise StopIteration"])
async def test_no_ending_of_a_file_ends_the_run(two: Fleet, ending: str) -> None:
    _write(two, f"if context.tenant == 'acme':\n    {ending}", top="import sys")
    report = await two.up()
    assert {r.tenant: r.outcome for r in report.results} == {
        "acme": Outcome.FAILED,
        "globex": Outcome.APPLIED,
    }


async def test_a_module_is_loaded_once_for_all_schemas(two: Fleet) -> None:
    _write(
        two,
        "SEEN.append(context.tenant)",
        top="import sys\nSEEN = []\nsys.loaded = getattr(sys, 'loaded', 0) + 1\nsys.seen = SEEN",
    )
    before = getattr(sys, "loaded", 0)
    (await two.up()).raise_for_failures()
    assert sys.loaded == before + 1  # type: ignore[attr-defined]
    assert sorted(sys.seen) == ["acme", "globex"]  # type: ignore[attr-defined]
    assert not [name for name in sys.modules if name.endswith("0002_odd")]


@pytest.mark.parametrize(
    ("top", "why"),
    [
        ("import nothing_like_it", ":2:1: .*ModuleNotFoundError: No module named"),
        ("from tenancy import nothing_like_it", ":2:1: .*ImportError: cannot import"),
        ("\n1 / 0", ":3:1: .*ZeroDivisionError: division by zero"),
    ],
)
async def test_a_file_that_cannot_be_imported_is_refused_before_anything_runs(
    two: Fleet, top: str, why: str
) -> None:
    two.write("shared/0001_words.sql", "CREATE TABLE words (word text)")
    _write(two, "pass", top=top)
    result = await two.command("up")
    assert (result.code, result.out) == (6, "")
    assert result.err.startswith("tenancy: tenant/0002_odd.py")
    assert "Traceback" not in result.err
    assert re.search(why, result.err)
    assert "shared.words" not in await two.tables("shared")


async def test_the_way_back_runs_down(two: Fleet) -> None:
    two.write(
        "tenant/0002_odd.py",
        "async def up(context):\n    await context.conn.execute('CREATE TABLE odd (id int)')\n"
        "async def down(context):\n    await context.conn.execute('DROP TABLE odd')\n",
    )
    (await two.up()).raise_for_failures()
    migration = two.files.tenant[1]
    async with two.connection() as conn:
        schema = await checkpoints.schema(conn, "t_acme")
        assert schema is not None
        role = await conn.fetchval("SELECT current_user::text")
        scope = Scope(schema, migration.stage, "shared", role)
        async with conn.transaction():
            for sql in scope.local(migration.directives):
                await conn.execute(sql)
            await python.run(conn, scope, migration, down=True)
    assert await two.tables() & {"t_acme.odd", "t_globex.odd"} == {"t_globex.odd"}
