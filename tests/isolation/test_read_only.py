"""A tenant in state read_only is not written to, whatever its views try: the server refuses."""

import asyncpg
import pytest
from support.databases import Database, Open, superuser
from support.notes import read

from tenancy import Tenancy, provision
from tenancy.errors import TenancyError
from tenancy.scope import IsolationLevel

INSERT = "INSERT INTO notes (body) VALUES ('written')"

# Before the insert. Each makes a transaction that has read nothing yet read-write, or the next one.
TRICKS = {
    "nothing": "",
    "SET TRANSACTION": "SET TRANSACTION READ WRITE",
    "SET LOCAL": "SET LOCAL transaction_read_only = off",
    "SET": "SET transaction_read_only = off",
    "set_config()": "SELECT set_config('transaction_read_only', 'off', true)",
    "UPDATE pg_settings": "UPDATE pg_settings SET setting = 'off' "
    "WHERE name = 'transaction_read_only'",
    "in a savepoint": "SAVEPOINT s; SET TRANSACTION READ WRITE",
    "the session's default": "SET default_transaction_read_only = off",
    "the session's characteristics": "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "DO": "DO $$ BEGIN SET TRANSACTION READ WRITE; END $$",
    "RESET ALL": "RESET ALL",
    "DISCARD": "DISCARD TEMP",
    "BEGIN": "BEGIN READ WRITE",
}
# PostgreSQL 15 resets it without a look, as no later one does. The way out sees it, and saves
# nothing; but a view that commits by itself has written.
RESETTING = {
    "RESET": "RESET transaction_read_only",
    "TO DEFAULT": "SET LOCAL transaction_read_only TO DEFAULT",
    "set_config(NULL)": "SELECT set_config('transaction_read_only', NULL, true)",
}
RESETS_WITHOUT_A_LOOK = 15
# The transaction's wall is gone with it; but then so are the path and, from `role` on, the role.
LEAVING = {
    "COMMIT": "COMMIT; BEGIN READ WRITE",
    "ROLLBACK": "ROLLBACK; BEGIN READ WRITE",
    "COMMIT AND CHAIN": "COMMIT AND CHAIN; SET TRANSACTION READ WRITE",
}
LEVELS = ("schema", "role", "strict")


async def _bodies(database: Database) -> list[str]:
    async with superuser(database.superuser_url) as conn:
        schema = await conn.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = 'acme'")
        return [row["body"] for row in await conn.fetch(f'SELECT body FROM "{schema}".notes')]


@pytest.mark.parametrize("level", LEVELS)
async def test_no_view_writes_for_a_read_only_tenant(
    open_tenancy: Open, database: Database, level: str
) -> None:
    async with provision.administrator(database.settings()) as admin:
        await admin.make_read_only("acme")
        server = admin.connection.get_server_version().major
    resets = server <= RESETS_WITHOUT_A_LOOK and level != "strict"
    written: list[str] = []
    async with open_tenancy(isolation=level, pool_max_size=1) as tenancy:
        for trick, text in {**TRICKS, **LEAVING, **RESETTING}.items():
            for committing in ("", "COMMIT"):
                with pytest.raises((TenancyError, asyncpg.PostgresError, asyncpg.InterfaceError)):
                    async with tenancy.transaction("acme") as conn:
                        for statement in (text, INSERT, committing):
                            if statement:
                                await conn.execute(statement)
                if committing and resets and trick in RESETTING:
                    written.append("written")
                assert await read(tenancy, "acme") == await _bodies(database) == written, trick


@pytest.mark.parametrize("isolation", [None, "repeatable_read", "serializable"])
async def test_the_server_itself_refuses_to_make_the_transaction_read_write(
    tenancy: Tenancy, isolation: IsolationLevel | None
) -> None:
    """As its first statement too: from the way in on there is a snapshot."""
    for trick in ("SET TRANSACTION", "SET LOCAL", "SET", "set_config()", "BEGIN"):
        with pytest.raises(asyncpg.ActiveSQLTransactionError):
            async with tenancy.transaction("acme", readonly=True, isolation=isolation) as conn:
                await conn.execute(TRICKS[trick])


# What the guide says that is not stopped: each level's own limit, as SECURITY.md has it.
@pytest.mark.parametrize(
    ("level", "again", "writes"),
    [
        ("schema", "SELECT 1", True),
        ("role", "SELECT 1", False),
        ("role", 'SET ROLE "{schema}"', True),
        ("strict", 'SET ROLE "{schema}"', False),
    ],
)
async def test_a_view_that_leaves_its_transaction_is_held_by_its_level_alone(
    open_tenancy: Open, database: Database, level: str, again: str, *, writes: bool
) -> None:
    async with provision.administrator(database.settings()) as admin:
        schema = (await admin.make_read_only("acme")).tenant.schema
    async with open_tenancy(isolation=level, pool_max_size=1) as tenancy:
        with pytest.raises((TenancyError, asyncpg.PostgresError)):
            async with tenancy.transaction("acme") as conn:
                await conn.execute("COMMIT")
                await conn.execute(again.format(schema=schema))
                await conn.execute(f"INSERT INTO \"{schema}\".notes (body) VALUES ('written')")
    assert await _bodies(database) == ["written"] * writes
