"""`baseline`: schemas that were there before stand where they do, and nothing is run in them."""

import pytest
from support.fleets import NOTES, Fleet

MORE = "CREATE INDEX notes_body_idx ON notes (body);"
PINNED = "ALTER TABLE notes ADD pinned bool;"


@pytest.fixture
async def old(fleet: Fleet) -> Fleet:
    """Tables that somebody else has made: acme's and globex's as the files say, initech's not."""
    fleet.write("tenant/0002_more.sql", MORE)
    fleet.write("tenant/0003_pinned.sql", PINNED)
    for name in await fleet.add("acme", "globex", "initech"):
        await fleet.execute(f"SET search_path = {name}; {NOTES}; {MORE}")
    await fleet.execute("DROP INDEX t_initech.notes_body_idx")
    return fleet


async def test_a_proved_schema_is_marked_and_goes_on_from_there(old: Fleet) -> None:
    done = await old.asked("baseline", "0002", "--tenant", "acme")
    assert (done.code, done.out) == (0, "baseline 0002: 1 marked\n")
    assert await old.fetch(
        "SELECT version, name, checksum, kind FROM tenancy.migrations WHERE stage = 'tenant'"
    ) == [("0002", "baseline", old.files.tenant[1].digest, "baseline")]
    await old.up(tenants=("acme",))
    assert (await old.versions())["acme"] == "0003"
    assert (await old.asked("verify", "--tenant", "acme", "--against", "files")).code == 0


async def test_a_schema_that_is_not_what_the_files_make_is_refused(old: Fleet) -> None:
    done = await old.asked("baseline", "0002", "--all")
    assert done.code == 6
    assert done.out.splitlines() == [
        "initech: not what the files up to 0002 make:",
        "  index notes_body_idx: missing here",
        "baseline 0002: 2 marked, 1 refused",
    ]
    assert await old.versions() == {"acme": "0002", "globex": "0002", "initech": None}
    assert not await old.fetch("SELECT 1 FROM pg_namespace WHERE nspname ~ 'scratch'")


async def test_unproven_takes_it_as_it_is(old: Fleet) -> None:
    done = await old.asked("baseline", "0002", "--tenant", "initech", "--unproven")
    assert (done.code, done.out) == (0, "baseline 0002: 1 marked\n")


async def test_again_changes_nothing(old: Fleet) -> None:
    query = "SELECT ctid, m::text FROM tenancy.migrations m"
    await old.asked("baseline", "0002", "--tenant", "acme")
    before = await old.fetch(query)
    done = await old.asked("baseline", "0002", "--tenant", "acme")
    assert (done.code, done.out) == (0, "baseline 0002: 0 marked, 1 were there\n")
    assert await old.fetch(query) == before


async def test_a_schema_that_the_ledger_knows_is_refused(old: Fleet) -> None:
    await old.asked("baseline", "0001", "--tenant", "initech")
    done = await old.asked("baseline", "0002", "--tenant", "initech")
    assert done.code == 6
    assert "initech: refused, the ledger has it at 0001" in done.out


async def test_the_schema_says_where_it_stands(old: Fleet) -> None:
    await old.execute("COMMENT ON SCHEMA t_acme IS 'from the old service'")
    await old.asked("baseline", "0002", "--tenant", "acme")
    said = await old.fetch("SELECT obj_description('t_acme'::regnamespace)")
    digest = old.files.tenant[1].digest
    assert said == [(f"from the old service\ntenancy version=0002 digest={digest}",)]
    assert (await old.asked("verify")).code == 3  # initech


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("0009", "--all"), 2, "no tenant file has the version '0009'; the nearest: 0003"),
        (("0002",), 2, "give --tenant or --all"),
        (("0002", "--all", "--tenant", "acme"), 2, "give --tenant or --all"),
        (("0002", "--tenant", "umbrella"), 2, "no tenant has the slug umbrella"),
    ],
)
async def test_a_wrong_word_is_told(
    old: Fleet, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = await old.asked("baseline", *arguments)
    assert done.code == code
    assert words in done.err


@pytest.mark.parametrize("order_any", [True, False])
async def test_a_file_that_comes_after_below_a_baseline_is_not_in_it(
    fleet: Fleet, order_any: bool
) -> None:
    """Whoever has the files one by one stands at the same digest, and is no other's matter."""
    fleet.write("tenant/0003_c.sql", "ALTER TABLE notes ADD c int;")
    await fleet.add("acme", "globex")
    await fleet.execute(f"SET search_path = t_acme; {NOTES} ALTER TABLE notes ADD c int;")
    assert (await fleet.asked("baseline", "0003", "--tenant", "acme")).code == 0
    (await fleet.up()).raise_for_failures()
    option = "order:any" if order_any else ""
    fleet.write("tenant/0002_b.sql", f"-- migrate:up {option}\nALTER TABLE notes ADD b int;")
    assert (await fleet.asked("repair", "--accept-checksum", "--yes")).out == (
        "nothing to put right\n"
    )
    planned = await fleet.asked("plan")
    if not order_any:
        assert planned.code == 6
        assert "acme (t_acme), globex (t_globex): tenant/0002_b.sql: was not applied" in planned.out
        return
    assert planned.out == "acme (t_acme), globex (t_globex): to apply tenant/0002_b.sql\n"
    fleet.write("tenant/0004_d.sql", "ALTER TABLE notes ADD d int;")
    report = await fleet.up()
    assert {one.tenant: one.applied for one in report.results} == {
        "acme": ("0002", "0004"),
        "globex": ("0002", "0004"),
    }
    assert (await fleet.asked("plan")).out == "nothing pending\n"
    assert (await fleet.up()).results == ()
    assert (await fleet.asked("verify", "--against", "globex")).code == 0
    fleet.write("tenant/0001_notes.sql", f"{NOTES} -- edited")
    assert (await fleet.asked("plan")).code == 6
    assert (await fleet.asked("repair", "--accept-checksum", "--yes")).code == 0
    assert (await fleet.asked("plan")).out == "nothing pending\n"
