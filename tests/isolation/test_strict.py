"""G11: what code that means well can do at level strict, and what it cannot."""

import io
import logging
from typing import Any

import asyncpg
import pytest
from support.databases import Database, Open, raise_walls, superuser
from support.forgone import FORGONE
from support.notes import read, write

from tenancy import Tenancy, errors, migrate, provision, walls
from tenancy.errors import DatabaseSetupError, ScopeBrokenError, StatementRefusedError


@pytest.fixture
async def strict(open_tenancy: Open) -> Any:
    async with open_tenancy(isolation="strict", pool_max_size=1) as tenancy:
        yield tenancy


async def _sink(*_: object) -> None:
    pass


async def test_what_strict_forbids_raises_what_the_paper_says(strict: Tenancy) -> None:
    for line in FORGONE:
        kind = getattr(errors, line.error, None) or getattr(asyncpg, line.error)
        raised = None
        try:
            async with strict.transaction("acme") as conn:
                await eval(line.call, {"conn": conn, "sink": _sink, "file": io.BytesIO(b"a\n")})
        except Exception as error:
            raised = error
        assert type(raised) is kind, line.call


async def test_what_strict_forbids_is_run_at_level_role_or_is_an_error_of_its_own(
    open_tenancy: Open, owner: asyncpg.Connection
) -> None:
    """Else a line of the paper could be refused for a mistake in it."""
    await owner.execute("CREATE PROCEDURE tidy() LANGUAGE sql AS 'SELECT 1'")
    refused = set()
    async with open_tenancy(pool_max_size=1) as tenancy:
        for line in FORGONE:
            try:
                async with tenancy.transaction("acme") as conn:
                    await eval(line.call, {"conn": conn, "sink": _sink, "file": io.BytesIO(b"a\n")})
            except asyncpg.FeatureNotSupportedError:
                assert "xml" in line.call  # a server without libxml
            except ScopeBrokenError:
                assert "PREPARE" in line.call
            except asyncpg.InsufficientPrivilegeError:
                refused.add(line.call)
    assert refused == {
        'conn.execute("CREATE TEMP TABLE found (id int)")',
        'conn.execute("SELECT 1 AS id INTO found")',
        'conn.execute("TRUNCATE notes")',
    }


async def test_a_refused_statement_costs_neither_the_transaction_nor_the_connection(
    strict: Tenancy,
) -> None:
    async with strict.transaction("acme") as conn:
        pid = conn.get_server_pid()
        with pytest.raises(StatementRefusedError):
            await conn.execute("SET LOCAL work_mem = '1MB'")
        await conn.execute("INSERT INTO notes (body) VALUES ('after')")
    async with strict.transaction("globex") as conn:
        assert conn.get_server_pid() == pid
    assert await read(strict, "acme") == ["after"]


async def test_the_error_and_its_answer_say_nothing_of_the_statement(strict: Tenancy) -> None:
    with pytest.raises(StatementRefusedError) as caught:
        async with strict.transaction("acme") as conn:
            await conn.execute("DROP TABLE secret")
    assert "DROP" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_statements_without_arguments_answer_as_at_other_levels(strict: Tenancy) -> None:
    async with strict.transaction("acme") as conn:
        assert await conn.execute("INSERT INTO notes (body) VALUES ('a'), ('b');") == "INSERT 0 2"
        assert await conn.execute("/* all */ UPDATE notes SET body = 'c' -- both") == "UPDATE 2"
        assert await conn.execute("(SELECT 1)") == "SELECT 1"
        assert await conn.execute("DELETE FROM notes WHERE id = $1", 1) == "DELETE 1"
        with pytest.raises(ValueError, match="no statement"):
            await conn.execute(" -- nothing\n ; ")


async def test_savepoints_work(strict: Tenancy) -> None:
    async with strict.transaction("acme", isolation="serializable") as conn:
        async with conn.transaction(isolation="serializable"):
            await conn.execute("INSERT INTO notes (body) VALUES ('kept')")
            with pytest.raises(asyncpg.CheckViolationError):
                async with conn.transaction():
                    await conn.execute("INSERT INTO notes (body) VALUES ('')")
    async with strict.transaction("acme") as conn:
        async with conn.transaction(isolation="read_committed"):  # asyncpg asks the server which
            assert await conn.fetchval("SELECT body FROM notes") == "kept"


async def test_cursors_prepared_statements_and_executemany_work(strict: Tenancy) -> None:
    async with strict.transaction("acme") as conn:
        rows = [(str(n),) for n in range(120)]
        await conn.executemany("INSERT INTO notes (body) VALUES ($1)", rows)
        seen = [row["body"] async for row in conn.cursor("SELECT body FROM notes ORDER BY id")]
        assert seen == [row[0] for row in rows]
        cursor = await conn.cursor("SELECT body FROM notes ORDER BY id")
        assert await cursor.forward(100) == 100
        assert len(await cursor.fetch(50)) == 20
        statement = await conn.prepare("SELECT body FROM notes WHERE body = $1")
        assert await statement.fetchval("7") == "7"


async def test_types_are_looked_up_inside_a_transaction(
    strict: Tenancy, owner: asyncpg.Connection
) -> None:
    """asyncpg's own way calls set_config, which nobody may call."""
    await owner.execute(
        "SET search_path = shared; CREATE TYPE mood AS ENUM ('glad', 'sad'); "
        "CREATE TYPE pair AS (a int, b mood); CREATE DOMAIN positive AS int CHECK (VALUE > 0)"
    )
    async with strict.transaction("acme") as conn:
        row = await conn.fetchrow(
            "SELECT 'glad'::mood AS mood, ROW(1, 'sad')::pair AS pair,"
            " ARRAY['sad']::mood[] AS all, 7::positive AS seven,"
            " ARRAY[1, 2] AS numbers, int4range(1, 3) AS range, $1::pair AS p",
            (2, "glad"),
        )
        assert row["pair"] == (1, "sad")
        assert row["p"] == (2, "glad")
        assert row["all"] == ["sad"]
        assert row["numbers"] == [1, 2]


async def test_codecs_are_set_when_a_connection_is_made(
    database: Database, owner: asyncpg.Connection
) -> None:
    await raise_walls(database)
    await owner.execute("SET search_path = shared; CREATE TYPE mood AS ENUM ('glad', 'sad')")

    async def init(conn: asyncpg.Connection) -> None:
        await conn.set_type_codec("mood", schema="shared", encoder=str, decoder=str.upper)
        await conn.execute("SET application_name = 'mine'")  # no tenant has been here

    settings = database.settings(isolation="strict", pool_max_size=1)
    async with Tenancy(settings=settings, connection_init=init) as tenancy:
        for slug in ("acme", "globex"):
            async with tenancy.transaction(slug) as conn:
                assert await conn.fetchval("SELECT 'sad'::mood") == "SAD"


async def test_operators_code_outside_of_tenants_is_held_too(strict: Tenancy) -> None:
    other = (await strict.find("globex")).schema
    for text in (
        f"SELECT set_config('role', '{other}', true)",
        f"SELECT body FROM {other}.notes",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with strict.shared() as conn:
                await conn.fetch(text)
    async with strict.shared() as conn:
        assert await conn.fetchval("SELECT count(*) FROM languages") == 5
        with pytest.raises(StatementRefusedError):
            await conn.execute(f"SET LOCAL ROLE {other}")


async def test_tenants_are_made_and_migrated_behind_the_walls(
    database: Database, strict: Tenancy, owner: asyncpg.Connection
) -> None:
    """The owner keeps what PUBLIC lost: languages, advisory locks, NOTIFY."""
    settings = database.settings(isolation="strict")
    (await migrate.migrate(settings)).raise_for_failures()
    async with provision.administrator(settings) as admin:
        await admin.create("initech")
    assert await write(strict, "initech", "first") == 1
    await owner.execute(
        """
        DO $$ BEGIN PERFORM pg_advisory_xact_lock(1); END $$;
        CREATE TABLE told (id int);
        CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog
            AS 'BEGIN PERFORM pg_notify(''news'', ''x''); RETURN NEW; END';
        CREATE TRIGGER telling BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION tell();
        """
    )
    assert await write(strict, "acme", "told") == 1


async def test_the_start_is_refused_until_the_walls_stand(database: Database) -> None:
    settings = database.settings(isolation="strict")
    with pytest.raises(DatabaseSetupError, match="as a superuser run python -m tenancy walls"):
        await Tenancy(settings=settings).start()
    await raise_walls(database)
    await raise_walls(database)  # the second time changes nothing
    async with Tenancy(settings=settings):
        pass


async def test_a_login_with_too_many_rights_is_refused(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await raise_walls(database)
    settings = database.settings(isolation="strict", database_url=database.superuser_url)
    with caplog.at_level(logging.WARNING), pytest.raises(DatabaseSetupError, match="superuser"):
        await Tenancy(settings=settings).start()


async def test_the_owners_login_is_none_for_requests(database: Database) -> None:
    await raise_walls(database)
    settings = database.settings(isolation="strict", database_url=database.admin_url)
    with pytest.raises(DatabaseSetupError):
        await Tenancy(settings=settings).start()
    async with superuser(database.superuser_url) as conn:
        login = database.settings().dsn.split("//")[1].split(":")[0]
        await conn.execute(f"GRANT EXECUTE ON FUNCTION set_config TO {login}")
    with pytest.raises(DatabaseSetupError, match="was granted set_config"):
        await Tenancy(settings=database.settings(isolation="strict")).start()


async def test_only_a_superuser_raises_them_and_only_in_their_database(
    database: Database, empty_database: Database
) -> None:
    text = walls.sql(database.name, owner="postgres", login="postgres")
    for url, word in ((database.admin_url, "superuser"), (empty_database.superuser_url, "another")):
        conn = await asyncpg.connect(url)
        with pytest.raises(asyncpg.RaiseError, match=word):
            await conn.execute(text)
        await conn.close()
