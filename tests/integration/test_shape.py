"""Fingerprints and differences: every change of a schema is seen, and nothing but a change."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from support.changes_of_shape import BASE, CHANGES, OF_SUPERUSERS, SUPERUSER, Change
from support.databases import Database, drop_database, make_database, superuser

from tenancy import migrate
from tenancy.migrate.ledger.checkpoints import schema as schema_called
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.description import describe
from tenancy.migrate.shape.differences import differences
from tenancy.migrate.shape.fingerprint import fingerprint


@pytest.fixture(scope="module")
async def database(server_url: str, logins: object) -> AsyncIterator[Database]:
    """Two schemas, t_one and t_two, with something of every kind, by the owner's rights alone."""
    database = await make_database(server_url, logins)  # type: ignore[arg-type]
    (await migrate.migrate(database.settings())).raise_for_failures()
    async with superuser(database.superuser_url) as conn:
        await conn.execute(SUPERUSER)
    async with superuser(database.admin_url) as conn:
        for name in ("t_one", "t_two"):
            await conn.execute(f"CREATE SCHEMA {name}; SET search_path = {name}; {BASE}")
    yield database
    await drop_database(server_url, database)


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection, in a transaction that is rolled back."""
    conn = await asyncpg.connect(database.admin_url)
    await conn.execute("BEGIN")
    yield conn
    await conn.close()


async def _schema(conn: asyncpg.Connection, name: str) -> SchemaRef:
    found = await schema_called(conn, name)
    assert found is not None
    return found


async def _said(conn: asyncpg.Connection, here: str, there: str) -> list[str]:
    """In what *here* differs, in words; and what the fingerprints say of it is the same."""
    schemas = [await _schema(conn, name) for name in (here, there)]
    one, two = [await fingerprint(conn, schema) for schema in schemas]
    said = differences(*[await describe(conn, schema) for schema in schemas])
    assert (one == two) is (not said)
    return [str(difference) for difference in said]


async def test_two_schemas_made_by_the_same_files_are_alike(conn: asyncpg.Connection) -> None:
    assert await _said(conn, "t_one", "t_two") == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
async def test_a_change_is_seen_and_named(conn: asyncpg.Connection, change: Change) -> None:
    if conn.get_server_version().major < change.since:
        pytest.skip(f"not before PostgreSQL {change.since}")
    await conn.execute("SET search_path = t_two, pg_temp")
    await conn.execute(change.sql.format(schema="t_two"))
    said = await _said(conn, "t_two", "t_one")
    assert [line for line in said if line.startswith(change.said)], "\n".join(said)
    assert not [line for line in said if "t_two" in line or "t_one" in line], "\n".join(said)


async def test_the_way_to_a_shape_leaves_no_trace(conn: asyncpg.Connection) -> None:
    await conn.execute("SET search_path = t_two, pg_temp")
    await conn.execute(
        """
        ALTER TABLE events ADD gone text, DROP what;
        ALTER TABLE events ADD what text, DROP gone;
        ALTER TABLE authors RENAME TO writers; ALTER TABLE writers RENAME TO authors;
        DROP VIEW recent;
        CREATE VIEW recent AS SELECT id, body FROM notes
            WHERE created_at > now() - interval '1 day';
        DROP INDEX notes_created_at; CREATE INDEX notes_created_at ON notes (created_at);
        GRANT SELECT ON notes TO PUBLIC; REVOKE SELECT ON notes FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION touch TO PUBLIC;
        COMMENT ON SCHEMA t_two IS 'a stamp';
        INSERT INTO authors (name) VALUES ('somebody');
        """
    )
    assert await _said(conn, "t_two", "t_one") == []


@pytest.mark.parametrize("change", OF_SUPERUSERS.values(), ids=list(OF_SUPERUSERS))
async def test_a_change_that_only_a_superuser_can_make_is_seen(
    conn: asyncpg.Connection, database: Database, change: Change
) -> None:
    async with superuser(database.superuser_url) as root:
        await root.execute(f"BEGIN; SET search_path = t_two; {change.sql}")
        said = await _said(root, "t_two", "t_one")
        await root.execute("ROLLBACK")
    assert any(line.startswith(change.said) for line in said) if change.said else said == []
    assert conn


@pytest.mark.parametrize(
    "text",
    [
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '%s.notes' $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; /* %s */ END $$",
        "ALTER TABLE base ALTER a SET DEFAULT length('%s')",
        "COMMENT ON TABLE base IS '%s'",
        "ALTER TABLE base ADD CONSTRAINT c CHECK (a <> length('%s.notes'))",
    ],
)
async def test_a_text_may_hold_the_schemas_own_name_and_no_other(
    conn: asyncpg.Connection, text: str
) -> None:
    for name in ("t_one", "t_two"):
        await conn.execute(f"SET search_path = {name}; {text % name}")
    assert await _said(conn, "t_two", "t_one") == []
    await conn.execute("ROLLBACK; BEGIN")
    for name in ("t_one", "t_two"):
        await conn.execute(f"SET search_path = {name}; {text % 't_one'}")
    assert await _said(conn, "t_two", "t_one") != []


async def test_definitions_that_the_server_printed_give_the_same_shape(
    conn: asyncpg.Connection,
) -> None:
    """As a dump does it: what is printed is run, and printed again in other words."""
    await conn.execute("SET search_path = t_two, pg_temp")
    for table, name in [("authors", "authors_kind_check"), ("notes", "body_length")]:
        printed = await conn.fetchval(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conname = $1 AND conrelid = $2::text::regclass",
            name,
            table,
        )
        await conn.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {printed}"
        )
    assert await _said(conn, "t_two", "t_one") == []
