"""The names of asyncpg's own that tenancy/connection.py leans on."""

import inspect

import asyncpg
import pytest
from asyncpg.connection import ServerCapabilities
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction

from tenancy.connection import ForgetfulConnection

OVERRIDDEN = [
    "execute", "reset", "_get_statement", "_copy_out", "_copy_in", "_get_unique_id",
    "set_type_codec", "reset_type_codec", "set_builtin_type_codec", "add_query_logger",
    "add_termination_listener", "prepare",
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
    assert list(inspect.signature(Transaction.__init__).parameters)[1:] == [
        "connection", "isolation", "readonly", "deferrable",
    ]  # fmt: skip


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
    assert source.count("self._protocol.query(") == 2  # in execute, logged and not
