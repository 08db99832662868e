"""`verify`: who is not like the others, how, and what is wrong with one whatever the others are."""

import json

import pytest
from support.databases import Database, superuser
from support.fleets import Fleet

from tenancy import migrate, provision

NOTES = """
    CREATE TABLE notes (
        id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        body text NOT NULL,
        kind varchar(9) CHECK (kind IN ('a', 'b'))
    );
"""
MORE = """
    CREATE INDEX notes_body_idx ON notes (body);
    CREATE FUNCTION count_notes() RETURNS bigint LANGUAGE sql SECURITY DEFINER
        SET search_path FROM CURRENT AS 'SELECT count(*) FROM notes';
    DO $$
    BEGIN
        EXECUTE format('CREATE FUNCTION here() RETURNS text LANGUAGE sql AS $f$ SELECT %L $f$',
                       current_schema());
    END $$;
"""
INDEX = "'t_acme.notes_body_idx'::regclass"


@pytest.fixture
async def alike(fleet: Fleet) -> Fleet:
    """Five tenants to which the same files were applied."""
    fleet.write("tenant/0001_notes.sql", NOTES)
    fleet.write("tenant/0002_more.sql", MORE)
    await fleet.add("acme", "globex", "initech", "umbrella", "hooli")
    (await fleet.up()).raise_for_failures()
    return fleet


async def test_tenants_with_the_same_files_are_alike(alike: Fleet) -> None:
    done = await alike.asked("verify")
    assert (done.code, done.err) == (0, "")
    assert done.out == "against most tenants: 5 at 0002 alike\n"


async def test_who_differs_is_named_with_every_difference(alike: Fleet) -> None:
    await alike.execute(
        "DROP INDEX t_acme.notes_body_idx; ALTER TABLE t_acme.notes ADD pinned bool;"
        "ALTER TABLE t_globex.notes ALTER body TYPE varchar(9)"
    )
    done = await alike.asked("verify")
    assert done.code == 3
    assert done.out.splitlines() == [
        "acme:",
        "  column notes.pinned: only here",
        "  index notes_body_idx: missing here",
        "globex:",
        "  column notes.body: type character varying(9), there text",
        "against most tenants: 3 at 0002 alike; 2 differ: acme, globex",
    ]


async def test_tenants_that_differ_in_the_same_way_are_told_together(alike: Fleet) -> None:
    for name in ("t_acme", "t_globex"):
        await alike.execute(f"DROP INDEX {name}.notes_body_idx")
    done = await alike.asked("verify")
    assert done.out.splitlines()[:2] == ["acme, globex:", "  index notes_body_idx: missing here"]


async def test_only_tenants_with_the_same_files_are_compared(alike: Fleet) -> None:
    alike.write("tenant/0003_pinned.sql", "ALTER TABLE notes ADD pinned bool;")
    await alike.up(tenants=("acme",))
    done = await alike.asked("verify")
    assert (done.code, done.out) == (
        0,
        "against most tenants: 4 at 0002 alike; 1 at 0003 alike\n",
    )


async def test_one_tenant_can_be_the_model(alike: Fleet) -> None:
    await alike.execute("DROP INDEX t_acme.notes_body_idx")
    done = await alike.asked("verify", "--against", "acme", "--tenant", "globex")
    assert done.code == 3
    assert done.out.splitlines() == [
        "globex:",
        "  index notes_body_idx: only here",
        "against acme: 1 at 0002 alike; 1 differ: globex",
    ]
    done = await alike.asked("verify", "--against", "umberlla")
    assert done.code == 2
    assert "no tenant has the slug umberlla" in done.err


async def test_the_canary_can_be_the_model(alike: Fleet) -> None:
    alike.write("tenant/0003_pinned.sql", "ALTER TABLE notes ADD pinned bool;")
    await alike.up(options=migrate.Options(canary="hooli"))
    await alike.execute("ALTER TABLE t_hooli.notes DROP pinned")
    done = await alike.asked("verify", "--against", "canary", "--tenant", "acme")
    assert done.code == 3
    assert "against the canary hooli" in done.out


async def test_the_files_are_the_model_wherever_a_tenant_stands(alike: Fleet) -> None:
    alike.write("tenant/0003_pinned.sql", "ALTER TABLE notes ADD pinned bool;")
    await alike.up(tenants=("acme",))
    await alike.add("nobody")
    done = await alike.asked("verify", "--against", "files")
    assert (done.code, done.out) == (
        0,
        "against the files: 4 at 0002 alike; 1 at 0003 alike; 1 at nothing alike\n",
    )
    for name in ("acme", "globex", "initech", "umbrella", "hooli"):
        await alike.execute(f"DROP INDEX t_{name}.notes_body_idx")
    assert (await alike.asked("verify")).code == 0
    done = await alike.asked("verify", "--against", "files")
    assert done.code == 3
    assert "  index notes_body_idx: missing here" in done.out
    assert not await alike.fetch("SELECT 1 FROM pg_namespace WHERE nspname ~ 'scratch'")


async def test_files_that_were_never_applied_say_so(alike: Fleet) -> None:
    alike.write("tenant/0002_more.sql", "SELECT 1;")
    done = await alike.asked("verify", "--against", "files")
    assert "not compared, what was applied to it is not in the files" in done.out


async def test_provisioned_tenants_are_like_the_files_at_every_level(
    database: Database,
) -> None:
    for isolation in ("role", "schema"):
        settings = database.settings(isolation=isolation)
        async with provision.administrator(settings) as admin:
            await admin.create(f"new-{isolation}")
            await admin.grant()
    found = await migrate.verify(database.settings(), against="files")
    assert (found.odd, found.left_out) == ((), {})
    assert sum(found.alike.values()) == 4
    assert (await migrate.verify(database.settings())).exit_code == 0


async def test_one_tenants_schema_in_anothers_function_is_a_fault_and_is_not_printed(
    alike: Fleet,
) -> None:
    await alike.execute(
        "CREATE OR REPLACE FUNCTION t_acme.count_notes() RETURNS bigint LANGUAGE sql "
        "SECURITY DEFINER SET search_path = t_acme AS 'SELECT count(*) FROM t_globex.notes'"
    )
    for option in ((), ("--json",)):
        done = await alike.asked("verify", *option)
        assert done.code == 3
        assert "function count_notes(): names the schema of another tenant" in done.out
        assert "t_globex" not in done.out + done.err


async def test_a_file_that_names_one_tenants_schema_is_a_fault_of_all(alike: Fleet) -> None:
    hidden = "EXECUTE 'CREATE VIEW v AS SELECT * FROM t_' || 'globex.notes'"
    alike.write("tenant/0003_wrong.sql", f"DO $$ BEGIN {hidden}; END $$;")
    (await alike.up()).raise_for_failures()
    done = await alike.asked("verify")
    assert done.code == 3
    assert "acme, hooli, initech, umbrella: view v: names the schema of another tenant" in done.out


DAMAGES = {
    f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = {INDEX}": (
        "acme: index notes_body_idx: is not valid"
    ),
    "ALTER TABLE t_acme.notes OWNER TO CURRENT_USER": (
        "acme: table notes: is owned by another login"
    ),
    "UPDATE tenancy.migrations SET checksum = 'x' WHERE schema_name = 't_acme'": (
        "acme: its rows in the ledger do not add up to its checkpoint"
    ),
    "COMMENT ON SCHEMA t_acme IS 'mine\ntenancy version=0001 digest=00'": (
        "acme: its comment says it stands at 0001, the ledger says 0002"
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.items(), ids=range(len(DAMAGES)))
async def test_what_is_wrong_with_one_is_told(
    alike: Fleet, empty_database: Database, damage: str, words: str
) -> None:
    async with superuser(empty_database.superuser_url) as conn:
        await conn.execute(damage)
    done = await alike.asked("verify")
    assert done.code == 3
    assert words in done.out


async def test_a_constraint_that_is_not_validated_is_told_and_may_be_meant(alike: Fleet) -> None:
    alike.write(
        "tenant/0003_check.sql", "ALTER TABLE notes ADD CONSTRAINT c CHECK (body <> '') NOT VALID;"
    )
    await alike.up()
    done = await alike.asked("verify")
    assert done.code == 0
    assert "constraint notes.c: is not validated" in done.out


async def test_json_tells_groups_faults_and_the_sum(alike: Fleet) -> None:
    await alike.execute("DROP INDEX t_acme.notes_body_idx; DROP SCHEMA t_hooli CASCADE")
    done = await alike.asked("verify", "--json")
    differs, left_out, verified = [json.loads(line) for line in done.out.splitlines()]
    assert differs["tenants"] == ["acme"]
    assert differs["differences"] == [
        {"kind": "index", "name": "notes_body_idx", "missing": "here"}
    ]
    assert left_out == {"event": "left_out", "tenant": "hooli", "reason": "it has no schema"}
    assert verified == {
        "event": "verified",
        "against": "most tenants",
        "alike": {"0002": 3},
        "differ": 1,
        "faults": 0,
        "left_out": 1,
    }


async def test_fingerprints_are_noted_when_asked(alike: Fleet) -> None:
    query = "SELECT count(fingerprint) FROM tenancy.checkpoints WHERE stage = 'tenant'"
    await alike.execute("UPDATE tenancy.checkpoints SET fingerprint = NULL")
    await alike.asked("verify")
    assert await alike.fetch(query) == [(0,)]
    await alike.asked("verify", "--store")
    assert await alike.fetch(query) == [(5,)]


async def test_an_empty_database_is_refused(fresh: Fleet) -> None:
    done = await fresh.asked("verify")
    assert done.code == 6
    assert "the catalog is behind" in done.err
