"""What was there before becomes a tenant: a schema of this database, or another database's."""

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
from support.databases import Database, Logins, at, drop_database, make_database, superuser
from support.fleets import NOTES, Fleet, kill
from support.odd_sql import FILES

from tenancy import provision

# Without a path of the schema's own in a function: another schema's would be another definition.
HISTORY = {
    name: text.replace(" SET search_path FROM CURRENT", "")
    for name, text in FILES.items()
    if "0004" not in name
}
ROWS = '''
    INSERT INTO notes (id, body, parent) VALUES (100, 'hundred', 101), (101, 'more', NULL);
    INSERT INTO "Odd ""Name""" (mood, mail, kind) SELECT 'low', n || '@x', 'plain'
        FROM generate_series(1, 2000) AS n;
    INSERT INTO parts VALUES ('2025-01-01', 5);
    SELECT setval('notes_id_seq', 500);
    REFRESH MATERIALIZED VIEW counted;
'''
CONTENT = '''
    SELECT 'notes', count(*), max(body) FROM {schema}.notes
    UNION ALL SELECT 'odd', count(*), max(mail) FROM {schema}."Odd ""Name"""
    UNION ALL SELECT 'parts', count(*), max(at)::text FROM {schema}.parts_1
    UNION ALL SELECT 'counted', n, NULL FROM {schema}.counted
    UNION ALL SELECT 'sequence', nextval('{schema}.notes_id_seq'), NULL
'''
EXPECTED = [
    ("notes", 4, "two; \\\\ 'quoted'\\n"),
    ("odd", 2002, "a@b"),
    ("parts", 2, "2025-01-01"),
    ("counted", 4, None),
    ("sequence", 501, None),
]


@pytest.fixture
async def odd(fresh: Fleet) -> Fleet:
    """A fleet with a catalog, a shared schema and odd files of tenants; no tenant yet."""
    (fresh.sql / "tenant/0001_notes.sql").unlink()
    for name, text in HISTORY.items():
        fresh.write(name, text)
    (await fresh.up()).raise_for_failures()
    return fresh


async def by_hand(conn: asyncpg.Connection, schema: str) -> None:
    """Make what the files make, in *schema*, with rows of its own."""
    await conn.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path = {schema}, shared")
    for name in sorted(HISTORY):
        if name.startswith("tenant/"):
            await conn.execute(HISTORY[name])
    await conn.execute(f"{ROWS}; RESET search_path")


async def content(conn: asyncpg.Connection, schema: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await conn.fetch(CONTENT.format(schema=schema))]


@pytest.fixture
async def root(fresh: Fleet, server_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser, in the fleet's database."""
    name = fresh.dsn.partition("?")[0].rpartition("/")[2]
    async with superuser(at(server_url, database=name)) as conn:
        yield conn


@pytest.fixture
async def old(server_url: str, logins: Logins) -> AsyncIterator[Database]:
    """A database of a single customer, with the same tables in its schema public."""
    database = await make_database(server_url, logins)
    async with superuser(database.superuser_url) as conn:
        await conn.execute("CREATE SCHEMA shared")
        await conn.execute(FILES["shared/0001_kinds.sql"].replace("kinds", "shared.kinds"))
        await by_hand(conn, "public")
        await conn.execute("CREATE TABLE public.schema_migrations (version text PRIMARY KEY)")
    yield database
    await drop_database(server_url, database)


async def test_a_schema_of_this_database_becomes_a_tenant(
    odd: Fleet, root: asyncpg.Connection
) -> None:
    await by_hand(root, "customer_a")
    arguments = ("adopt", "--schema", "customer_a", "--slug", "acme", "--at", "0003")
    result = await odd.asked(*arguments)
    assert result.code == 6
    assert "ALTER SCHEMA customer_a OWNER TO" in result.err
    for statement in result.err.partition(" of both, ")[2].split("; "):
        await root.execute(statement)
    result = await odd.asked(*arguments, "--domain", "notes.acme.example")
    assert result.code == 0, result.err
    assert await odd.versions() == {"acme": "0003"}
    async with provision.administrator(odd.settings) as admin:
        profile = await admin.show("acme")
    assert profile.domains == ("notes.acme.example",)
    assert await content(root, profile.tenant.schema) == EXPECTED


async def test_another_database_becomes_a_tenant(
    odd: Fleet, old: Database, root: asyncpg.Connection
) -> None:
    arguments = ("adopt", "--from-url-env", "OLD_URL", "--slug", "acme", "--at", "0003")
    result = await odd.asked(*arguments, OLD_URL=old.superuser_url)
    assert result.code == 0, result.err
    assert await odd.versions() == {"acme": "0003"}
    async with provision.administrator(odd.settings) as admin:
        schema = (await admin.show("acme")).tenant.schema
    assert await content(root, schema) == EXPECTED
    odd.write("tenant/0005_next.sql", "ALTER TABLE notes ADD pinned boolean;")
    assert (await odd.up()).exit_code() == 0
    assert await odd.versions() == {"acme": "0005"}


FROM_OLD = ("adopt", "--from-url-env", "OLD_URL", "--slug", "acme", "--at", "0003")
LEFT = """
    SELECT count(*) FROM (
        SELECT slug FROM tenancy.tenants
        UNION ALL SELECT nspname FROM pg_namespace WHERE nspname SIMILAR TO '(t|%scratch)\\_%'
        UNION ALL SELECT schema_name FROM tenancy.migrations WHERE stage = 'tenant'
    ) AS left_behind
"""


async def test_a_structure_of_its_own_is_refused_and_named(odd: Fleet, old: Database) -> None:
    async with superuser(old.superuser_url) as conn:
        await conn.execute(
            "ALTER TABLE public.notes ADD extra int; CREATE TABLE public.mine (n int PRIMARY KEY); "
            "DROP TRIGGER loud ON public.notes"
        )
    result = await odd.asked(*FROM_OLD, OLD_URL=old.superuser_url)
    assert result.code == 6
    assert all(name in result.err for name in ("notes.extra", "table mine", "loud")), result.err
    result = await odd.asked(*FROM_OLD, "--unproven", OLD_URL=old.superuser_url)
    assert (result.code, "mine, notes.extra" in result.err) == (6, True)
    assert await odd.fetch(LEFT) == [(0,)]
    async with superuser(old.superuser_url) as conn:
        await conn.execute("ALTER TABLE public.notes DROP extra")
    options = ("--unproven", "--without", "mine")
    result = await odd.asked(*FROM_OLD, *options, OLD_URL=old.superuser_url)
    assert result.code == 0, result.err


async def test_rows_that_lack_a_value_leave_nothing(odd: Fleet, old: Database) -> None:
    async with superuser(old.superuser_url) as conn:
        await conn.execute(
            "ALTER TABLE public.notes ALTER body DROP NOT NULL; "
            "INSERT INTO public.notes (id, body) VALUES (7, NULL)"
        )
    result = await odd.asked(*FROM_OLD, "--unproven", OLD_URL=old.superuser_url)
    assert result.code == 6
    assert "a row of notes does not fit here: not null violation (body)" in result.err
    assert await odd.fetch(LEFT) == [(0,)]


async def test_rows_that_break_a_constraint_leave_nothing(odd: Fleet, old: Database) -> None:
    async with superuser(old.superuser_url) as conn:
        await conn.execute(
            "ALTER TABLE public.notes DISABLE TRIGGER ALL; "
            "INSERT INTO public.notes (id, body, parent) VALUES (7, 'orphan', 999)"
        )
    result = await odd.asked(*FROM_OLD, "--unproven", OLD_URL=old.superuser_url)
    assert (result.code, "notes_parent_fkey" in result.err) == (6, True)
    assert "999" not in result.err
    assert await odd.fetch(LEFT) == [(0,)]


async def test_killed_in_the_middle_it_leaves_nothing_and_can_be_run_again(
    odd: Fleet, old: Database, root: asyncpg.Connection
) -> None:
    env = {"OLD_URL": old.superuser_url}
    async with superuser(old.superuser_url) as conn, conn.transaction():
        await conn.execute("LOCK TABLE public.parts_1")  # the last one that is copied
        process = await odd.start(*FROM_OLD, "--unproven", **env)
        await odd.until(
            "SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database "
            f"WHERE d.datname = '{old.name}' AND NOT l.granted"
        )
        await kill(process)
    await odd.until(
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name IN ('tenancy admin', 'tenancy migrate')"
    )
    result = await odd.asked(*FROM_OLD, **env)
    assert result.code == 0, result.err
    schema = (await odd.fetch("SELECT schema_name FROM tenancy.tenants"))[0][0]
    assert await content(root, str(schema)) == EXPECTED
    assert await odd.fetch("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%scratch%'") == [
        (0,)
    ]


async def test_a_schema_is_proved_too(odd: Fleet) -> None:
    async with odd.connection() as conn:
        await conn.execute("CREATE SCHEMA customer_b; CREATE TABLE customer_b.notes (id int)")
    arguments = ("adopt", "--schema", "customer_b", "--slug", "acme", "--at", "0003")
    result = await odd.asked(*arguments)
    assert (result.code, "table parts: missing here" in result.err) == (6, True)
    assert await odd.fetch(LEFT) == [(0,)]
    result = await odd.asked(*arguments, "--unproven", "--json")
    assert (result.code, '"version": "0003"' in result.out) == (0, True)


@pytest.mark.parametrize("how", [(), ("--unproven",)])
async def test_what_other_tools_left_is_named_with_what_is_to_be_done(
    fleet: Fleet, how: tuple[str, ...]
) -> None:
    fleet.write("tenant/0002_own.sql", "CREATE TABLE schema_version (release text);")
    await fleet.execute(
        f"CREATE SCHEMA customer; SET search_path = customer; {NOTES}"
        "CREATE TABLE schema_version (release text); CREATE TABLE scratch (id serial);"
        'CREATE TABLE atlas_schema_revisions (id int); CREATE TABLE "SequelizeMeta" (name text);'
    )
    await fleet.add("globex")
    (await fleet.up()).raise_for_failures()
    words = ("adopt", "--schema", "customer", "--slug", "acme", "--at", "2", "--without", "scratch")
    done = await fleet.asked(*words, *how)
    first, told = done.out.splitlines()
    assert first.startswith("acme is a tenant: schema t_")
    assert "made by no file: SequelizeMeta, atlas_schema_revisions, scratch; `verify`" in told
    assert (await fleet.asked("verify")).code == 3
    drop = re.search("DROP TABLE [^;]*", told)
    assert drop is not None
    await fleet.execute(drop[0])
    assert (await fleet.asked("verify")).code == 0


async def test_rows_of_a_table_that_the_files_make_are_brought_whatever_it_is_called(
    fleet: Fleet, old: Database
) -> None:
    fleet.write("tenant/0002_own.sql", "CREATE TABLE schema_migrations (version text PRIMARY KEY);")
    (await fleet.up()).raise_for_failures()
    async with superuser(old.superuser_url) as conn:
        await conn.execute(
            f"CREATE SCHEMA own; SET search_path = own; {NOTES}"
            "CREATE TABLE alembic_version (version_num text);"
            "CREATE TABLE schema_migrations (version text PRIMARY KEY);"
            "INSERT INTO schema_migrations VALUES ('2.1')"
        )
    words = (*FROM_OLD[:-1], "2", "--from-schema", "own")
    done = await fleet.asked(*words, OLD_URL=old.superuser_url)
    assert (done.code, len(done.out.splitlines())) == (0, 1), done.err
    schema = done.out.split()[5].rstrip(",")
    assert await fleet.fetch(f"SELECT version FROM {schema}.schema_migrations") == [("2.1",)]


async def test_a_name_of_ours_is_kept_and_another_is_not_where_a_function_knows_it(
    fleet: Fleet,
) -> None:
    fleet.write("tenant/0002_f.sql", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';")
    body = "AS 'SELECT count(*)::int FROM {0}.notes'"
    async with fleet.connection() as conn:
        for name in ("customer_c", "t_kept"):
            await conn.execute(
                f"CREATE SCHEMA {name}; SET search_path = {name}; {NOTES} "
                f"CREATE FUNCTION f() RETURNS int LANGUAGE sql {body.format(name)}; "
                f"CREATE FUNCTION g() RETURNS int LANGUAGE sql SET search_path = {name} "
                "AS 'SELECT 1'"
            )
    options = ("--at", "0002", "--unproven")
    result = await fleet.asked("adopt", "--schema", "customer_c", "--slug", "acme", *options)
    assert (result.code, "f(), customer_c.g()" in result.err) == (6, True)
    result = await fleet.asked("adopt", "--schema", "t_kept", "--slug", "globex", *options)
    assert (result.code, "schema t_kept" in result.out) == (0, True)
    result = await fleet.asked("adopt", "--schema", "t_kept", "--slug", "other", *options)
    assert (result.code, "is a tenant's already" in result.err) == (6, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--schema", "absent", "--slug", "acme", "--at", "0001"), 6, "no schema 'absent'"),
        (("--schema", "tenancy", "--slug", "acme", "--at", "0001"), 6, "can be no tenant's"),
        (("--schema", "public", "--slug", "acme", "--at", "0009"), 2, "0009"),
        (("--schema", "public", "--slug", "WWW", "--at", "0001"), 2, "cannot be a slug"),
        (("--slug", "acme", "--at", "0001"), 2, "give one of --schema"),
        (("--from-url-env", "UNSET", "--slug", "acme", "--at", "0001"), 2, "UNSET is not set"),
    ],
)
async def test_what_cannot_be_adopted_is_said(
    fleet: Fleet, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = await fleet.asked("adopt", *arguments)
    assert (result.code, words in result.err) == (code, True), result.err


async def test_the_other_address_is_called_by_where_it_came_from(fleet: Fleet) -> None:
    file = fleet.sql / "old.url"
    file.write_text("postgresql://reader:hidden@127.0.0.1:1/old\n")
    options = ("--slug", "acme", "--at", "0001")
    result = await fleet.asked("adopt", "--from-url-file", str(file), *options)
    assert (result.code, "old.url" in result.err, "hidden" in result.err) == (4, True, False)
