"""The connection as a Python file sees it: asyncpg's own, for as long as the file runs.

The names beginning with an underscore belong to asyncpg 0.32; tests/unit/test_asyncpg_pin.py fails
when they move.
"""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction

from tenancy.errors import BlockEndedError, MigrationError

# What would stay with the connection, on asyncpg's side of the wire, for the next schema.
_STAYING = {
    "add_listener",
    "add_log_listener",
    "add_query_logger",
    "add_termination_listener",
    "close",
    "reset",
    "terminate",
}
_CODECS = {"set_type_codec", "set_builtin_type_codec"}


class LentConnection:
    """Everything that ``asyncpg.Connection`` has, until `end`; a task left behind finds nothing."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn: Any = conn
        self._codecs: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - asyncpg ships no types
        if self._conn is None:
            raise BlockEndedError(
                f"cannot use {name}: the migration that had this connection has ended; await "
                "everything in it that uses the connection"
            )
        if name in _STAYING:
            raise MigrationError(f"{name}() is not for migrations: the connection serves others")
        if name in _CODECS:
            return self._noting(name)
        return getattr(self._conn, name)

    def _noting(self, name: str) -> Any:  # noqa: ANN401
        method = getattr(self._conn, name)

        async def call(typename: str, *, schema: str = "public", **options: Any) -> None:  # noqa: ANN401
            self._codecs.append((typename, schema))
            await method(typename, schema=schema, **options)

        return call

    async def end(self) -> None:
        """Give the connection the codecs it had."""
        for typename, schema in self._codecs:
            with contextlib.suppress(ValueError):  # there is no such type any more
                await self._conn.reset_type_codec(typename, schema=schema)


@asynccontextmanager
async def lent(conn: Any, seconds: float | None) -> AsyncIterator[LentConnection]:  # noqa: ANN401
    """Lend *conn* out, whose statements may then take *seconds*; None: as long as they like.

    In a transaction that asyncpg did not begin ``conn.transaction()`` makes a savepoint.
    """
    config, outer = conn._config, conn._top_xact
    conn._config = config._replace(command_timeout=seconds)
    if conn.is_in_transaction() and outer is None:
        # Else asyncpg refuses it.
        conn._top_xact = Transaction(conn, "read_committed", readonly=False, deferrable=False)
    borrowed = LentConnection(conn)
    try:
        yield borrowed
        await borrowed.end()
    finally:
        borrowed._conn = None
        conn._config, conn._top_xact = config, outer
