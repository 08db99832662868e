"""G4, G5: what was answered "saved" was committed, and nothing else was."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from quart import Quart, abort, current_app
from support.databases import Database, Open
from support.notes import read, write

from tenancy import Tenancy
from tenancy.errors import (
    CommitConflictError,
    NestedTransactionError,
    NoTenantError,
    ScopeBrokenError,
    TenantMismatchError,
    TransactionFailedError,
)
from tenancy.pool.shapes import USES_BEFORE_OWN
from tenancy.tenant import serving

INSERT = "INSERT INTO notes (body) VALUES ('new')"
Kind = Callable[[Any], Awaitable[object]]


async def _plain(conn: Any) -> None:
    await conn.execute(INSERT)


async def _savepoint_undone(conn: Any) -> None:
    await conn.execute(INSERT)
    with pytest.raises(asyncpg.CheckViolationError):
        async with conn.transaction():
            await conn.execute("INSERT INTO notes (body) VALUES ('')")


async def _raises(conn: Any) -> None:
    await conn.execute(INSERT)
    raise ZeroDivisionError


async def _aborts(conn: Any) -> None:
    await conn.execute(INSERT)
    abort(404)


async def _swallows(conn: Any) -> None:
    await conn.execute(INSERT)
    with pytest.raises(asyncpg.CheckViolationError):
        await conn.execute("INSERT INTO notes (body) VALUES ('')")


async def _database_error(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.execute("INSERT INTO notes (body) VALUES ('')")


async def _rolls_back(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.execute("ROLLBACK")


async def _rolls_back_and_begins(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.execute("ROLLBACK; BEGIN")


async def _commits_then_writes(conn: Any) -> None:
    await conn.execute("COMMIT; BEGIN")
    await conn.execute("INSERT INTO notes (body) VALUES ('without a scope')")


async def _commits_then_restores_its_scope(conn: Any) -> None:
    """All is as it was but the marker."""
    path, role = await conn.fetchrow(
        "SELECT current_setting('search_path'), current_setting('role')"
    )
    await conn.execute(f"COMMIT; BEGIN; SET LOCAL search_path = {path}; SET LOCAL ROLE {role}")
    await conn.execute("INSERT INTO notes (body) VALUES ('without a marker')")


async def _changes_path(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.execute("SET LOCAL search_path = shared")


async def _changes_role(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.execute("SET LOCAL ROLE NONE")


async def _cancels_itself(conn: Any) -> None:
    await conn.execute(INSERT)
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def _terminates(conn: Any) -> None:
    await conn.execute(INSERT)
    conn.terminate()


async def _serialization(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.execute("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$")


async def _canceled_by_timeout(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.execute("SET LOCAL statement_timeout = 10")
    await conn.execute("SELECT pg_sleep(1)")


async def _lock_not_available(conn: Any) -> None:
    await conn.execute("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '55P03'; END $$")


async def _nul(conn: Any) -> None:
    await conn.execute("INSERT INTO notes (body) VALUES ($1)", "a\0b")


async def _surrogate(conn: Any) -> None:
    await conn.execute("INSERT INTO notes (body) VALUES ($1)", "a\ud800b")


async def _nests(conn: Any) -> None:
    await conn.execute(INSERT)
    async with current_app.extensions["tenancy"].transaction():
        pass


KINDS: dict[str, tuple[Kind, int, bool]] = {
    "plain": (_plain, 200, True),
    "savepoint undone": (_savepoint_undone, 200, True),
    "raises": (_raises, 500, False),
    "aborts": (_aborts, 404, False),
    "swallows a database error": (_swallows, 500, False),
    "lets a database error out": (_database_error, 500, False),
    "rolls back itself": (_rolls_back, 500, False),
    "rolls back and begins": (_rolls_back_and_begins, 500, False),
    "commits, then writes": (_commits_then_writes, 500, False),
    "commits, then restores its scope": (_commits_then_restores_its_scope, 500, False),
    "changes the path": (_changes_path, 500, False),
    "changes the role": (_changes_role, 500, False),
    "loses its connection": (_terminates, 503, False),
    "meets a serialization failure": (_serialization, 503, False),
    "runs into the statement timeout": (_canceled_by_timeout, 504, False),
    "cannot get a lock": (_lock_not_available, 503, False),
    "stores NUL": (_nul, 422, False),
    "stores a lone surrogate": (_surrogate, 422, False),
    "opens a second transaction": (_nests, 500, False),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
async def test_an_answer_tells_whether_the_row_is_there(
    tenancy: Tenancy, kind: tuple[Kind, int, bool]
) -> None:
    act, status, saved = kind
    app = Quart(__name__)
    tenancy.init_app(app)

    @app.post("/")
    async def view() -> str:
        async with tenancy.transaction() as conn:
            await act(conn)
        return "saved"

    answer = await app.test_client().post("/", headers={"Host": "acme.example.com"})
    assert answer.status_code == status
    assert ((await answer.get_data()) == b"saved") is saved
    assert await read(tenancy, "acme") == (["new"] if saved else [])
    assert await read(tenancy, "globex") == []


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (_swallows, TransactionFailedError),
        (_rolls_back, ScopeBrokenError),
        (_rolls_back_and_begins, ScopeBrokenError),
        (_changes_path, ScopeBrokenError),
        (_changes_role, ScopeBrokenError),
    ],
)
async def test_a_block_that_left_its_scope_raises(
    tenancy: Tenancy, act: Kind, error: type[Exception]
) -> None:
    with pytest.raises(error):
        async with tenancy.transaction("acme") as conn:
            await act(conn)
    assert await read(tenancy, "acme") == []


async def test_a_failing_block_leaves_no_row(tenancy: Tenancy) -> None:
    with pytest.raises(ZeroDivisionError):
        async with tenancy.transaction("acme") as conn:
            await _raises(conn)
    assert await read(tenancy, "acme") == []


async def test_a_cancelled_block_leaves_no_row(tenancy: Tenancy) -> None:
    async def block() -> None:
        async with tenancy.transaction("acme") as conn:
            await _cancels_itself(conn)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(block())
    assert await read(tenancy, "acme") == []


async def test_a_readonly_block_cannot_write(tenancy: Tenancy) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with tenancy.transaction("acme", readonly=True) as conn:
            await conn.execute(INSERT)
    with pytest.raises(asyncpg.PostgresError):
        async with tenancy.transaction("acme", readonly=True) as conn:
            await conn.execute("SELECT 1; SET TRANSACTION READ WRITE; " + INSERT)
    assert await read(tenancy, "acme") == []


async def test_a_deferred_constraint_is_checked_before_the_answer(
    tenancy: Tenancy, owner: asyncpg.Connection
) -> None:
    await owner.execute(
        "ALTER TABLE notes ADD parent bigint REFERENCES notes DEFERRABLE INITIALLY DEFERRED"
    )
    with pytest.raises(CommitConflictError):
        async with tenancy.transaction("acme") as conn:
            await conn.execute("INSERT INTO notes (body, parent) VALUES ('orphan', 99)")
    async with tenancy.transaction("acme") as conn:
        await conn.execute(
            "INSERT INTO notes (id, body, parent) OVERRIDING SYSTEM VALUE "
            "VALUES (7, 'child', 8), (8, 'parent', NULL)"
        )
    assert await read(tenancy, "acme") == ["child", "parent"]


async def test_a_deferred_trigger_runs_in_the_scope(
    tenancy: Tenancy, owner: asyncpg.Connection
) -> None:
    await owner.execute(
        """
        CREATE TABLE seen (path text, role text);
        CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO seen VALUES (current_setting('search_path'), current_user);
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER looking AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION look();
        """
    )
    await write(tenancy, "acme", "new")
    acme = await tenancy.find("acme")
    async with tenancy.transaction("acme", readonly=True) as conn:
        seen = await conn.fetchrow("SELECT path, role FROM seen")
    assert tuple(seen) == (f"{acme.schema}, shared, pg_temp", acme.schema)


async def test_isolation_levels_reach_the_server_and_savepoints(tenancy: Tenancy) -> None:
    async with tenancy.transaction("acme", isolation="serializable") as conn:
        assert await conn.fetchval("SHOW transaction_isolation") == "serializable"
        async with conn.transaction():
            assert await conn.fetchval("SHOW transaction_isolation") == "serializable"


async def test_a_task_holds_one_transaction(tenancy: Tenancy) -> None:
    async with tenancy.transaction("acme"):
        with pytest.raises(NestedTransactionError):
            async with tenancy.transaction("acme"):
                pass
    async with tenancy.transaction("acme"):
        pass


async def test_there_is_no_default_tenant(tenancy: Tenancy) -> None:
    with pytest.raises(NoTenantError):
        async with tenancy.transaction():
            pass


async def test_a_request_cannot_open_another_tenants_transaction(tenancy: Tenancy) -> None:
    with serving(await tenancy.find("acme")):
        async with tenancy.transaction("acme"):
            pass
        with pytest.raises(TenantMismatchError):
            async with tenancy.transaction("globex"):
                pass


LEFT_BY_A_QUERY = {
    "path": "SELECT set_config('search_path', 'public', true)",
    "path, amid a query": "SELECT count(*), set_config('search_path', 'x', false) FROM notes",
    "role": "SELECT set_config('role', 'none', true)",
    "marker": "SELECT set_config('tenancy.scope', '', true)",
    "access mode": "SELECT set_config('transaction_read_only', 'on', true)",
}


@pytest.mark.parametrize("text", LEFT_BY_A_QUERY.values(), ids=LEFT_BY_A_QUERY.keys())
async def test_the_guard_of_a_tenant_that_comes_often_is_as_strict(
    both: Tenancy, database: Database, text: str
) -> None:
    """Its guard is planned once and kept; a plain query gives no reason to doubt it."""
    for _ in range(USES_BEFORE_OWN + 1):
        await read(both, "acme")
    with pytest.raises(ScopeBrokenError):
        async with both.transaction("acme") as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ($1)", "not to be saved")
            await conn.fetch(text)
            assert (conn.guard is None) == database.pooled  # nothing is kept behind a pooler
    assert await read(both, "acme") == ["of acme"]
    assert await read(both, "globex") == ["of globex"]


async def test_a_guard_driven_out_by_very_many_statements_is_asked_in_full(
    open_tenancy: Open, database: Database
) -> None:
    async with open_tenancy(pool_max_size=1, statement_cache_size=110) as tenancy:
        for _ in range(USES_BEFORE_OWN + 1):
            await write(tenancy, "acme", "of acme")
        async with tenancy.transaction("acme") as conn:
            assert (conn.guard is None) == database.pooled
            for number in range(250):
                await conn.fetchval(f"SELECT {number}")
            assert conn.guard is None
            await conn.execute("INSERT INTO notes (body) VALUES ($1)", "saved")
        assert (await read(tenancy, "acme"))[-1] == "saved"
        assert tenancy.pool.size == 1
