"""`repair`: the ledger is put right, for a fleet in a few statements, and no tenant is touched."""

import json

import pytest
from support.fleets import NOTES, Fleet

from tenancy.migrate.upgrade import lock

COMMENTED = f"{NOTES} -- what people wrote"


@pytest.fixture
async def changed(fleet: Fleet) -> Fleet:
    """Twelve tenants, one of them a file further; then the first file is changed."""
    fleet.write("tenant/0002_more.sql", "CREATE INDEX ON notes (body);")
    slugs = [f"n{number}" for number in range(12)]
    await fleet.add(*slugs)
    (await fleet.up()).raise_for_failures()
    fleet.write("tenant/0003_pinned.sql", "ALTER TABLE notes ADD pinned bool;")
    (await fleet.up(tenants=("n0",))).raise_for_failures()
    fleet.write("tenant/0001_notes.sql", COMMENTED)
    assert (await fleet.asked("plan")).code == 6
    return fleet


async def _shapes(fleet: Fleet) -> object:
    return await fleet.fetch("SELECT oid, relname FROM pg_class WHERE relname ~ 'notes' ORDER BY 1")


async def test_a_changed_file_is_accepted_over_the_fleet(changed: Fleet) -> None:
    before = await _shapes(changed)
    done = await changed.asked("repair", "--accept-checksum", "--yes")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "tenant (11): t_n1, t_n10, t_n11, t_n2, t_n3 and 6 more"
    assert lines[1].startswith("  0001: checksum ")
    assert (lines[2], lines[-1]) == ("tenant (1): t_n0", "12 schemas put right")
    assert (await changed.asked("plan", "--check")).code == 5
    (await changed.up()).raise_for_failures()
    assert set((await changed.versions()).values()) == {"0003"}
    assert (await changed.asked("verify")).code == 0
    assert await _shapes(changed) == before


async def test_nothing_is_done_before_somebody_has_agreed(changed: Fleet) -> None:
    before = await changed.fetch("SELECT m::text FROM tenancy.migrations m")
    done = await changed.asked("repair", "--accept-checksum")
    assert "0001: checksum" in done.out
    assert (done.code, "nothing was changed: add --yes" in done.err) == (2, True)
    assert await changed.fetch("SELECT m::text FROM tenancy.migrations m") == before


async def test_one_tenant_or_one_version_can_be_meant(changed: Fleet) -> None:
    await changed.asked("repair", "--accept-checksum", "--yes", "--tenant", "n1")
    assert (await changed.asked("plan", "--tenant", "n1")).code == 0
    assert (await changed.asked("plan", "--tenant", "n2")).code == 6
    done = await changed.asked("repair", "--accept-checksum", "0002", "--yes")
    assert done.out == "nothing to put right\n"
    done = await changed.asked("repair", "--accept-checksum", "0999", "--yes")
    assert (done.code, "no file has the version '0999'" in done.err) == (2, True)
    assert (await changed.asked("repair", "--accept-checksum", "1", "--yes")).code == 0
    assert (await changed.asked("plan", "--tenant", "n2")).code == 0


async def test_a_second_changed_file_that_is_not_named_stays_refused(changed: Fleet) -> None:
    changed.write("tenant/0002_more.sql", "CREATE INDEX ON notes (body); -- too")
    done = await changed.asked("repair", "--accept-checksum", "0001", "--yes")
    assert done.code == 6
    assert "refused: tenant/0002_more.sql: changed after it was applied" in done.out
    assert (await changed.asked("repair", "--accept-checksum", "--yes")).code == 0


async def test_a_changed_file_below_a_baseline_is_accepted(fleet: Fleet) -> None:
    (name,) = await fleet.add("acme")
    await fleet.execute(f"SET search_path = {name}; {NOTES}")
    assert (await fleet.asked("baseline", "0001", "--all")).code == 0
    fleet.write("tenant/0001_notes.sql", COMMENTED)
    assert (await fleet.asked("plan")).code == 6
    done = await fleet.asked("repair", "--accept-checksum", "--yes")
    assert "0001: its baseline stands for the files as they are" in done.out
    assert (await fleet.asked("plan")).code == 0


async def test_a_missing_file_is_refused_and_can_be_forgotten(changed: Fleet) -> None:
    (changed.sql / "tenant/0001_notes.sql").unlink()
    done = await changed.asked("repair", "--accept-checksum", "--yes")
    assert done.out == "nothing to put right\n"
    assert (await changed.asked("plan")).code == 6
    done = await changed.asked("repair", "--accept-missing", "0001", "--yes")
    assert done.code == 0
    assert "  0001: forgotten, its file is missing" in done.out
    assert (await changed.asked("plan")).code == 0
    done = await changed.asked("repair", "--accept-missing", "0002", "--yes")
    assert (done.code, "0002: has its file" in done.err) == (6, True)


async def test_a_gap_is_refused(changed: Fleet) -> None:
    changed.write("tenant/0002_more.sql", "CREATE INDEX ON notes (body);")
    changed.write("tenant/0000_first.sql", "SELECT 1;")
    done = await changed.asked("repair", "--accept-checksum", "--yes")
    assert done.code == 6
    assert "refused: tenant/0000_first.sql: was not applied" in done.out


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tenancy.checkpoints SET digest = 'x', version = 'y' WHERE schema_name = 't_acme'",
        "DELETE FROM tenancy.checkpoints WHERE schema_name = 't_acme'",
    ],
)
async def test_a_checkpoint_is_rebuilt_from_the_rows(fleet: Fleet, damage: str) -> None:
    fleet.write("tenant/0002_more.sql", "CREATE INDEX ON notes (body);")
    await fleet.add("acme", "globex")
    await fleet.up()
    await fleet.execute(damage)
    done = await fleet.asked("repair", "--accept-checksum", "--yes")
    assert "repair --rebuild-checkpoint first" in done.out
    done = await fleet.asked("repair", "--rebuild-checkpoint", "--yes")
    assert (done.code, done.out.splitlines()) == (
        0,
        [
            "tenant (1): t_acme",
            "  the checkpoint becomes 0002, as the rows say",
            "1 schema put right",
        ],
    )
    assert (await fleet.asked("plan", "--check")).code == 0
    assert (await fleet.asked("verify")).code == 0


async def test_what_is_known_of_schemas_that_are_gone_is_dropped(fleet: Fleet) -> None:
    await fleet.add("acme", "globex")
    await fleet.up()
    await fleet.execute("DROP SCHEMA t_acme CASCADE")
    done = await fleet.asked("repair", "--forget-gone", "--yes", "--json")
    gone, repaired = [json.loads(line) for line in done.out.splitlines()]
    assert (gone["schema"], gone["version"]) == ("t_acme", "0001")
    assert repaired == {"event": "repaired", "schemas": 1}
    rows = await fleet.fetch(
        "SELECT DISTINCT schema_name FROM tenancy.migrations WHERE stage = 'tenant'"
    )
    assert rows == [("t_globex",)]


async def test_nothing_is_put_right_while_something_is_migrated(changed: Fleet) -> None:
    async with changed.connection() as conn:
        await lock.take_run(conn)
        for arguments in (("repair", "--accept-checksum", "--yes"), ("baseline", "0001", "--all")):
            done = await changed.asked(*arguments)
            assert done.code == 75
            assert "or end that session yourself: it is no migrator's" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("repair",), "say what to repair"),
        (("repair", "0001"), "say what to repair"),
        (("repair", "0001", "--rebuild-checkpoint"), "VERSION goes with --accept-checksum"),
        (("repair", "--forget-gone", "--tenant", "acme"), "--forget-gone is for schemas"),
    ],
)
async def test_a_wrong_word_is_told(fresh: Fleet, arguments: tuple[str, ...], words: str) -> None:
    done = await fresh.asked(*arguments)
    assert done.code == 2
    assert words in done.err


async def test_a_schema_that_is_half_way_back_is_not_called_current(fleet: Fleet) -> None:
    """Its rows say that the file is in, and a part of it is gone."""
    await fleet.add("acme")
    fleet.write(
        "tenant/0002_a.sql",
        "ALTER TABLE notes ADD a int;\n-- migrate:down transaction:false\n"
        "ALTER TABLE notes DROP a;\nSELECT 1 / count(*) FROM notes;",
    )
    (await fleet.up()).raise_for_failures()
    assert (await fleet.asked("down", "--to", "1", "--tenant", "acme", "--yes")).code == 3
    done = await fleet.asked("repair", "--rebuild-checkpoint", "--yes")
    assert done.code == 6
    assert "refused: is half-way back from 0002" in done.out
    assert (await fleet.asked("plan")).code == 6
    verified = await fleet.asked("verify")
    assert "acme: it is half-way back: say `down` once more" in verified.out
    assert "--rebuild-checkpoint" not in verified.out
