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
