"""The names of asyncpg's own that tenancy/pool and the migrator's lent.py lean on."""

import asyncio
import inspect
from typing import Any

import asyncpg
import pytest
from asyncpg import connresource, cursor, pool, prepared_stmt
from asyncpg.connect_utils import _ClientConfiguration
from asyncpg.connection import ServerCapabilities
from asyncpg.pool import PoolConnectionHolder, PoolConnectionProxy, _PoolConnectionHolderQueue
from asyncpg.transaction import Transaction

from tenancy.pool import lent
from tenancy.pool.connection import ForgetfulConnection

OVERRIDDEN = [
    "execute", "reset", "_get_statement", "_copy_out", "_copy_in", "_get_unique_id",
    "set_type_codec", "reset_type_codec", "set_builtin_type_codec", "add_query_logger",
    "add_termination_listener", "prepare", "_execute", "_executemany",
    "_drop_global_statement_cache", "copy_records_to_table",
]  # fmt: skip


def test_asyncpg_is_the_minor_version_that_was_read() -> None:
    assert asyncpg.__version__.startswith("0.32.")


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_overridden_exists(name: str) -> None:
    assert inspect.isfunction(getattr(asyncpg.Connection, name))


def test_every_override_is_listed() -> None:
    own = {
        name
        for name in vars(ForgetfulConnection)
        if inspect.isfunction(getattr(ForgetfulConnection, name))
    }
    inherited = {name for name in own if hasattr(asyncpg.Connection, name)} - {"__init__"}
    assert inherited == set(OVERRIDDEN)


def test_the_state_that_is_set_exists() -> None:
    source = inspect.getsource(asyncpg.Connection.__init__)
    for name in ("_top_xact", "_listeners", "_log_listeners", "_server_caps"):
        assert f"self.{name} = " in source
    assert "self._stmt_cache_enabled" in inspect.getsource(asyncpg.Connection._get_statement)
    assert "jit" in ServerCapabilities._fields
    assert "_con" in PoolConnectionProxy.__slots__
    pool = inspect.getsource(asyncpg.Pool)
    for name in ("_queue = _PoolConnectionHolderQueue", "_closing = ", "_generation = "):
        assert f"self.{name}" in pool
    assert {"_con", "_generation", "_max_queries", "_pool"} <= set(PoolConnectionHolder.__slots__)
    assert "_getters" in vars(asyncio.Queue())
    assert isinstance(_PoolConnectionHolderQueue()._queue, list)
    assert "self._holders = " in inspect.getsource(asyncpg.Pool)
    assert inspect.isfunction(PoolConnectionHolder.is_idle)
    assert inspect.isfunction(PoolConnectionHolder.terminate)
    assert list(inspect.signature(Transaction.__init__).parameters)[1:] == [
        "connection", "isolation", "readonly", "deferrable",
    ]  # fmt: skip


def test_the_migrator_can_give_a_connection_another_time_limit_and_a_transaction() -> None:
    assert "command_timeout" in _ClientConfiguration._fields
    source = inspect.getsource(asyncpg.Connection.__init__)
    assert "self._config = config" in source
    assert "self._top_xact = None" in source
    assert "if con._top_xact is None:" in inspect.getsource(inspect.unwrap(Transaction.start))


def test_a_text_without_arguments_can_go_by_the_extended_protocol() -> None:
    assert list(inspect.signature(asyncpg.Connection._execute).parameters)[1:5] == [
        "query", "args", "limit", "timeout",
    ]  # fmt: skip
    assert "return_status=True" in inspect.getsource(asyncpg.Connection.execute)


def test_every_way_to_send_sql_is_one_we_watch() -> None:
    """All of asyncpg's calls that put a text on the wire are made in methods known here."""
    source = inspect.getsource(asyncpg.Connection)
    senders = {"query": 1, "prepare": 1, "copy_out": 1, "copy_in": 1}
    for name, times in senders.items():
        found = source.count(f"self._protocol.{name}(")
        assert found >= times, name
    assert source.count("self._protocol.prepare(") == 1  # in _get_statement
    assert source.count("self._protocol.copy_out(") == 1  # in _copy_out
    assert source.count("self._protocol.copy_in(") == 2  # in _copy_in and copy_records_to_table
    assert source.count("self._protocol.query(") == 2  # in execute, logged and not


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        (lent.LendingConnection, asyncpg.Connection,
         ["_prepare", "cursor", "transaction", "_copy_out", "_copy_in"]),
        (lent._Lent, connresource.ConnectionResource, ["_check_conn_validity"]),
        (lent._Savepoint, Transaction, []),
        (lent._Statement, prepared_stmt.PreparedStatement,
         ["cursor", "_PreparedStatement__do_execute"]),
        (lent._Cursors, cursor.CursorFactory, ["__aiter__", "__await__"]),
        (lent._Cursor, cursor.Cursor, ["_exec", "forward"]),
        (lent._CursorIterator, cursor.CursorIterator, ["__anext__"]),
    ],
)  # fmt: skip
def test_what_a_block_lends_is_overridden_where_it_is(
    ours: Any, theirs: Any, names: list[str]
) -> None:
    own = {name for name in vars(ours) if inspect.isfunction(getattr(ours, name))} - {"__init__"}
    assert own == set(names)
    assert all(hasattr(theirs, name) for name in names)


def test_what_a_block_lends_can_change_its_class() -> None:
    """asyncpg makes them; an instance dict or slots of its own in ours would forbid it."""
    assert "PoolConnectionProxy(self, self._con)" in inspect.getsource(pool.PoolConnectionHolder)
    assert "type(connection) is not PoolConnectionProxy" in inspect.getsource(pool.Pool.release)
    source = inspect.getsource(connresource.ConnectionResource)
    assert "self._con_release_ctr = connection._pool_release_ctr" in source
    assert "with self._stmt_exclusive_section:" in inspect.getsource(asyncpg.Connection._execute)
    for name, method in vars(PoolConnectionProxy).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            assert vars(lent._EndedConnection)[name] is not method
