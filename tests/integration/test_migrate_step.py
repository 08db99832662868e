"""One schema's step: what is in its transaction, what it says where it fails, who hears of it."""

import asyncio
import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.changes import heard, until
from support.databases import Database
from support.fleets import Fleet
from support.wire import CUT, CUT_ANSWER, when, wire

from tenancy.migrate import Outcome
from tenancy.migrate.ledger import checkpoints, fingerprints, stamp
from tenancy.migrate.ledger.records import Move, SchemaRef
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.report.events import Event, Waiting
from tenancy.migrate.upgrade import retry, waiting, whole
from tenancy.migrate.upgrade.runner import Upgrade
from tenancy.migrate.upgrade.session import Session


@pytest.fixture
async def acme(fleet: Fleet) -> Fleet:
    """One tenant, with notes."""
    await fleet.add("acme")
    (await fleet.up()).raise_for_failures()
    return fleet


async def schema(fleet: Fleet) -> SchemaRef:
    async with fleet.connection() as conn:
        found = await checkpoints.schema(conn, "t_acme")
    assert found is not None
    return found


@pytest.mark.parametrize("most", [1, 2, 50])
async def test_files_take_one_round_trip(
    acme: Fleet, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(whole, "MOST_FILES", most)
    for number in range(2, 6):
        acme.write(f"tenant/000{number}_more.sql", f"CREATE TABLE a{number} (n int); SELECT 1;")
    async with wire(acme.dsn) as line:
        through = dataclasses.replace(acme, dsn=line.url).settings
        async with Session(through) as session:
            await session.connection()
            before = line.round_trips
            upgrade = Upgrade(session, await schema(acme), acme.files.tenant, None, shared="shared")
            await upgrade.run()
            assert upgrade.applied == ["0002", "0003", "0004", "0005"]
            # Lock and ledger, then the files, the last of which give the lock back.
            assert line.round_trips - before == 1 + math.ceil(4 / most)
        assert (await acme.up()).results == ()


async def test_how_long_a_file_took_is_kept(acme: Fleet) -> None:
    acme.write("tenant/0002_slow.sql", "SELECT pg_sleep(0.2);")
    await acme.up()
    rows = await acme.fetch(
        "SELECT milliseconds FROM tenancy.migrations WHERE version = '0002' AND stage = 'tenant'"
    )
    assert 200 <= int(str(rows[0][0])) < 20_000


async def test_an_upgrade_stops_where_it_is_told_to(acme: Fleet) -> None:
    for number in (2, 3, 4):
        acme.write(f"tenant/000{number}_more.sql", f"CREATE TABLE a{number} (n int);")
    async with Session(acme.settings) as session:
        where = await schema(acme)
        files = acme.files.tenant
        first = Upgrade(session, where, files, None, shared="shared", until="0003")
        position = await first.run()
        assert (position.verdict, [m.version for m in position.pending]) == (
            Verdict.BEHIND,
            ["0004"],
        )
        rest = Upgrade(session, where, files, None, shared="shared")
        assert (await rest.run()).verdict is Verdict.CURRENT
        assert (first.applied, rest.applied) == (["0002", "0003"], ["0004"])


async def test_a_file_of_any_order_brings_the_checkpoint_to_where_all_are(acme: Fleet) -> None:
    acme.write("tenant/0003_c.sql", "CREATE TABLE c (n int);")
    acme.write("tenant/0004_d.sql", "CREATE TABLE d (n int);")
    await acme.up()
    acme.write("tenant/0002_b.sql", "-- migrate:up order:any\nCREATE TABLE b (n int);")
    report = await acme.up()
    assert [(r.outcome, r.applied) for r in report.results] == [(Outcome.APPLIED, ("0002",))]
    assert await acme.versions() == {"acme": "0004"}
    assert await acme.fetch("SELECT digest FROM tenancy.checkpoints WHERE stage = 'tenant'") == [
        (acme.files.tenant[-1].digest,)
    ]
    assert (await acme.up()).results == ()


# Its stamp


async def test_the_stamp_says_where_the_schema_stands(acme: Fleet) -> None:
    ((comment,),) = await acme.fetch("SELECT obj_description('t_acme'::regnamespace)")
    assert stamp.read(str(comment)) == ("0001", acme.files.tenant[0].digest)


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")))
def test_a_comment_of_the_users_own_stays(own: str) -> None:
    first = stamp.stamped(own, Move("", "ab12", "0001"))
    assert stamp.without(first) == stamp.without(own)
    assert stamp.read(first) == ("0001", "ab12")
    second = stamp.stamped(first, Move("ab12", "cd34", "0002"))
    assert (stamp.without(second), stamp.read(second)) == (stamp.without(own), ("0002", "cd34"))
    assert stamp.stamped(second, Move("cd34", "", "")) == stamp.without(own)


@pytest.mark.parametrize("own", ["it's", "back\\slash", "two\nlines", "tab\there", "é ✓", '"{}"'])
async def test_a_comment_survives_the_way_to_the_server_and_back(acme: Fleet, own: str) -> None:
    async with acme.connection() as conn:
        text = await conn.fetchval("SELECT quote_literal($1::text)", own)
        await conn.execute(f"COMMENT ON SCHEMA t_acme IS {text}")
    for number in (2, 3):
        acme.write(f"tenant/000{number}_more.sql", "SELECT 1;")
        await acme.up()
    ((comment,),) = await acme.fetch("SELECT obj_description('t_acme'::regnamespace)")
    assert stamp.without(str(comment)) == own
    assert (stamp.read(str(comment)) or [""])[0] == "0003"


# Its words


@pytest.mark.parametrize(
    ("statement", "place", "words"),
    [
        (
            "DO $$\nBEGIN\n  PERFORM 1;\n  PERFORM 1 / (SELECT 0);\nEND $$",
            "3:1",
            "division by zero (DO, in line 6 of the file at PERFORM)",
        ),
        (
            "SELECT f('topsecret')",
            "3:1",
            "division by zero (SELECT f, in f(text) line 2 at assignment)",
        ),
        ("ALTER TABLE notes ADD body text", "3:1", "already exists (ALTER TABLE notes ADD body)"),
        ("INSERT INTO notes (body) VALUES (topsecret())", "3:34", "(INSERT INTO notes)"),
    ],
)
async def test_a_failure_says_where_in_which_statement_without_data(
    acme: Fleet, statement: str, place: str, words: str
) -> None:
    function = (
        "CREATE FUNCTION f(secret text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE a int;\n"
        "BEGIN a := 1 / (length(secret) - 9); RETURN a; END $$;"
    )
    acme.write("tenant/0002_bad.sql", f"{function}\n{statement};")
    (result,) = (await acme.up()).results
    assert result.failure is not None
    assert result.failure.place == f"tenant/0002_bad.sql:{place}"
    assert words in result.why
    assert "topsecret" not in result.why.replace("function topsecret()", "")


async def test_what_fails_at_commit_names_the_file(acme: Fleet) -> None:
    acme.write(
        "tenant/0002_late.sql",
        "CREATE TABLE child (id bigint REFERENCES notes DEFERRABLE INITIALLY DEFERRED); "
        "INSERT INTO child VALUES (7);",
    )
    (result,) = (await acme.up()).results
    assert result.why == (
        "tenant/0002_late.sql: [23503] at its COMMIT: foreign key violation of child_id_fkey"
    )


# Its patience


async def test_who_holds_the_lock_is_told_while_it_waits_and_when_it_gives_up(
    acme: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "CONTENTION_ATTEMPTS", 2)
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(waiting, "AGAIN_SECONDS", 0.1)
    acme.write(
        "tenant/0002_alter.sql",
        "-- migrate:up lock_timeout:600ms\nALTER TABLE notes ADD a int;",
    )
    told: list[Event] = []
    async with acme.connection() as reader, Session(acme.settings) as session:
        await reader.execute("SET application_name = 'a report'")
        await reader.execute("BEGIN; SELECT 'topsecret' FROM t_acme.notes")
        upgrade = Upgrade(
            session, await schema(acme), acme.files.tenant, None, shared="shared", watch=told.append
        )
        with pytest.raises(Exception, match=r"\[55P03\].*; held by a report \(server process") as e:
            await upgrade.run()
    assert "idle in transaction, in a transaction since" in str(e.value)
    waits = [event for event in told if isinstance(event, Waiting)]
    assert waits
    assert all("a report" in wait.blocker and wait.schema == "t_acme" for wait in waits)
    assert "topsecret" not in f"{told} {e.value}"


async def test_a_file_says_how_often_it_is_tried(acme: Fleet) -> None:
    acme.write(
        "tenant/0002_alter.sql",
        "-- migrate:up lock_timeout:50ms retries:2\nALTER TABLE notes ADD a int;",
    )
    async with acme.connection() as reader:
        await reader.execute("BEGIN; TABLE t_acme.notes")
        async with asyncio.timeout(5):
            (result,) = (await acme.up()).results
    assert result.outcome is Outcome.FAILED


async def test_a_connection_waits_beside_it_only_after_a_while(acme: Fleet) -> None:
    acme.write(
        "tenant/0002_look.sql",
        "CREATE TABLE seen AS SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database();",
    )
    await acme.up()
    ((sessions,),) = await acme.fetch("SELECT count FROM t_acme.seen")
    assert int(str(sessions)) <= 3  # the run's, a worker's


# What others hear of it


async def test_running_workers_hear_of_each_version_after_its_commit(database: Database) -> None:
    settings = database.settings()
    fleet = Fleet(database.admin_url, settings.sql_dir)  # type: ignore[arg-type]
    ((tenant_id, name, oid),) = await fleet.fetch(
        "SELECT t.id::text, t.schema_name, n.oid FROM tenancy.tenants t "
        "JOIN pg_namespace n ON n.nspname = t.schema_name WHERE slug = 'acme'"
    )
    await fleet.execute(f"DELETE FROM tenancy.checkpoints WHERE schema_oid = {oid}")
    await fleet.execute(
        f"DELETE FROM tenancy.migrations WHERE schema_oid = {oid}; DROP SCHEMA {name} CASCADE; "
        f"CREATE SCHEMA {name}"
    )
    ((oid,),) = await fleet.fetch("SELECT oid FROM pg_namespace WHERE nspname = $1", name)
    async with heard(database) as payloads, Session(settings) as session:
        where = SchemaRef(int(str(oid)), str(name))
        upgrade = Upgrade(session, where, fleet.files.tenant, None, shared="shared")
        await upgrade.run()
        conn = await session.connection()
        kept = await fingerprints.keep(conn, where, upgrade.applied[-1], "a shape")
        assert kept == fleet.files.tenant[-1].digest  # and nobody hears of that

        async def told() -> bool:
            return payloads == [tenant_id] * len(upgrade.applied)

        await until(told)
        await asyncio.sleep(0.2)
        assert await told()
    assert upgrade.applied


# Several files at once


@pytest.mark.parametrize(
    ("statement", "place"),
    [("SELECT nope", "1:8"), ("SELECT 1; SELEC 2", "1:11"), ("SELECT 1; SELECT 1 / 0", "1:11")],
)
async def test_of_several_files_at_once_those_before_the_failing_one_stay(
    acme: Fleet, statement: str, place: str
) -> None:
    for number in range(2, 7):
        acme.write(f"tenant/000{number}_more.sql", f"CREATE TABLE a{number} (n int);")
    acme.write("tenant/0004_bad.sql", f"{statement};")
    (acme.sql / "tenant/0004_more.sql").unlink()
    (result,) = (await acme.up()).results
    assert (result.applied, result.outcome) == (("0002", "0003"), Outcome.FAILED)
    assert result.failure is not None
    assert result.failure.place == f"tenant/0004_bad.sql:{place}"
    assert await acme.versions() == {"acme": "0003"}
    assert {"t_acme.a2", "t_acme.a3"} == await acme.tables() - {"t_acme.notes"}


@pytest.mark.parametrize("verdict", [CUT, CUT_ANSWER])
async def test_of_several_files_at_once_none_is_lost_or_done_twice(
    acme: Fleet, verdict: str
) -> None:
    acme.write("tenant/0002_hits.sql", "CREATE TABLE hits (n int); INSERT INTO hits VALUES (0);")
    for number in range(3, 7):
        acme.write(f"tenant/000{number}_hit.sql", "UPDATE hits SET n = n + 1;")
    async with wire(acme.dsn) as line:
        line.verdict = when(b"COMMIT; NOTIFY", verdict)
        (result,) = (await dataclasses.replace(acme, dsn=line.url).up()).results
    assert result.applied == ("0002", "0003", "0004", "0005", "0006")
    assert await acme.fetch("SELECT n FROM t_acme.hits") == [(4,)]


async def test_a_lock_in_the_third_of_several_files_is_waited_for(acme: Fleet) -> None:
    acme.write("tenant/0002_a.sql", "CREATE TABLE a (n int);")
    acme.write("tenant/0003_b.sql", "CREATE TABLE b (n int);")
    acme.write(
        "tenant/0004_alter.sql", "-- migrate:up lock_timeout:100ms\nALTER TABLE notes ADD c int;"
    )
    acme.write("tenant/0005_d.sql", "CREATE TABLE d (n int);")
    async with acme.connection() as reader:
        await reader.execute("BEGIN; TABLE t_acme.notes")
        run = asyncio.create_task(acme.up())
        await acme.until("SELECT version = '0003' FROM tenancy.checkpoints WHERE stage = 'tenant'")
        await asyncio.sleep(0.5)
        await reader.execute("ROLLBACK")
        (result,) = (await run).results
    assert result.applied == ("0002", "0003", "0004", "0005")
