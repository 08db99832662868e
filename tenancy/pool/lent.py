"""What a block lends out, and what it is after the block has ended.

A connection, a cursor, a prepared statement or a savepoint that a task, a stream or a variable has
kept is of no more use then: asyncpg refuses it, here in words that say what to do. They cost
nothing while the block lasts.

The names beginning with an underscore belong to asyncpg 0.32; tests/unit/test_asyncpg_pin.py fails
when they move.
"""

import inspect
from collections.abc import Callable, Generator
from typing import Any, NoReturn

import asyncpg
from asyncpg.cursor import Cursor, CursorFactory, CursorIterator
from asyncpg.pool import PoolConnectionProxy
from asyncpg.prepared_stmt import PreparedStatement
from asyncpg.transaction import Transaction

from tenancy.errors import BlockEndedError, ConnectionBusyError

_IN_PROGRESS = "another operation is in progress"  # asyncpg's words for a busy connection


def end(conn: PoolConnectionProxy) -> None:
    """Let every further use of *conn*, whose block has ended, say so."""
    # asyncpg's pool makes these proxies and asks for their exact class until it has them back.
    conn.__class__ = _EndedConnection


def _ended(what: str) -> BlockEndedError:
    return BlockEndedError(
        f"cannot call {what}(): the `async with tenancy.transaction()` block it came from has "
        "ended, and its connection serves others: await what uses it inside the block, or open a "
        "block of its own (a task one, a stream or a websocket one for each step)"
    )


def _busy() -> ConnectionBusyError:
    return ConnectionBusyError(
        f"{_IN_PROGRESS} on this connection, which runs one statement at a time: await one after "
        "the other, or let each task open a tenancy.transaction() of its own"
    )


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise _ended(name)

    return refuse


class _EndedConnection(PoolConnectionProxy):  # type: ignore[misc]
    """What a connection becomes when its block has ended."""

    __slots__ = ()


for _name, _ in inspect.getmembers(PoolConnectionProxy, inspect.isfunction):
    if not _name.startswith("_"):
        setattr(_EndedConnection, _name, _refusal(_name))


class _Told:
    """Says in our words that the connection was busy."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, asyncpg.InterfaceError) and _IN_PROGRESS in str(error.args[0]):
            raise _busy() from error


told = _Told()


class _OneStatement(_Told):
    """Lets one statement at a time through, as asyncpg's own; where that one does, and no more."""

    __slots__ = ("_acquired",)

    def __init__(self) -> None:
        self._acquired = False

    def __enter__(self) -> None:
        if self._acquired:
            raise _busy()
        self._acquired = True

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._acquired = False
        if error is not None:
            super().__exit__(kind, error, trace)


class LendingConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection whose statements, cursors and savepoints know when their block has ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stmt_exclusive_section = _OneStatement()

    async def _prepare(self, *args: Any, **kwargs: Any) -> Any:
        with told:
            return _as(_Statement, await super()._prepare(*args, **kwargs))

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        return _as(_Cursors, super().cursor(*args, **kwargs))

    def transaction(self, **kwargs: Any) -> Any:
        return _as(_Savepoint, super().transaction(**kwargs))

    async def _copy_out(self, *args: Any) -> Any:
        with told:
            return await super()._copy_out(*args)

    async def _copy_in(self, *args: Any) -> Any:
        with told:
            return await super()._copy_in(*args)


def _as(kind: type, resource: Any) -> Any:
    """Return *resource*, which asyncpg has made, as our subclass of its class."""
    resource.__class__ = kind
    return resource


class _Lent:
    """What asyncpg calls a resource of a connection: it counts the connection's releases."""

    __slots__ = ()

    _connection: Any
    _con_release_ctr: int

    def _check_conn_validity(self, method: str) -> None:
        if self._connection._pool_release_ctr != self._con_release_ctr:
            raise _ended(method.strip("_"))
        super()._check_conn_validity(method)  # type: ignore[misc]


class _Savepoint(_Lent, Transaction):  # type: ignore[misc]
    __slots__ = ()


class _Statement(_Lent, PreparedStatement):  # type: ignore[misc]
    __slots__ = ()

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        return _as(_Cursors, super().cursor(*args, **kwargs))

    async def _PreparedStatement__do_execute(self, executor: Any) -> Any:  # noqa: N802 - mangled
        with told:
            return await super()._PreparedStatement__do_execute(executor)


class _Cursors(_Lent, CursorFactory):  # type: ignore[misc]
    __slots__ = ()

    def __aiter__(self) -> Any:
        return _as(_CursorIterator, super().__aiter__())

    def __await__(self) -> Generator[Any, None, Any]:
        with told:
            return _as(_Cursor, (yield from super().__await__()))


class _Cursor(_Lent, Cursor):  # type: ignore[misc]
    __slots__ = ()

    async def _exec(self, *args: Any) -> Any:
        with told:
            return await super()._exec(*args)

    async def forward(self, *args: Any, **kwargs: Any) -> int:
        with told:
            return int(await super().forward(*args, **kwargs))


class _CursorIterator(_Lent, CursorIterator):  # type: ignore[misc]
    __slots__ = ()

    async def __anext__(self) -> Any:
        with told:
            return await super().__anext__()
