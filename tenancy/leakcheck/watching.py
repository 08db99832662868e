"""The application's asyncpg: where it connects to, who uses a connection, and what happens there.

For the time of a run asyncpg's public classes are wrapped in this process. So it also works for an
application with a pool of its own, and no connection can reach any database but the throw-away one.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import asyncpg.connection

from tenancy.errors import LeakcheckError
from tenancy.leakcheck.calls import Call, Event
from tenancy.leakcheck.plants import Plants
from tenancy.leakcheck.sandbox import Sandbox
from tenancy.leakcheck.states import Picture

_METHODS = ("execute", "executemany", "fetch", "fetchmany", "fetchrow", "fetchval", "prepare")
_ADDRESS = (
    "host", "port", "user", "password", "passfile", "service", "servicefile", "database", "ssl",
    "direct_tls", "target_session_attrs", "krbsrvname", "gsslib",
)  # fmt: skip
_PLAIN = re.compile(r"\s*(?:select|insert|update|delete|merge|with)\b", re.IGNORECASE)
_OWN_SETTING = re.compile(
    r"(?:set_config\s*\(\s*'|\bset\s+(?:local\s+|session\s+)?)([a-z_]\w*\.[a-z_]\w*)", re.IGNORECASE
)

current: ContextVar[Call | None] = ContextVar("tenancy.leakcheck.call", default=None)


class PlannedError(Exception):
    """Raised in place of a statement's result, by plan."""


@dataclass(slots=True, eq=False)
class Watched:
    """One connection of the application's.

    Attributes:
        calls: numbers of the requests that used it, in order.
        expected: what it remembered before any request.
        last: what it remembered at the last look.
    """

    number: int
    conn: asyncpg.Connection
    login: str
    calls: list[int] = field(default_factory=list)
    expected: Picture | None = None
    last: Picture = field(default_factory=dict)


class Watch:
    """Everything that asyncpg does in this process during a run.

    Attributes:
        plants: makes the SQL of what a request leaves behind.
        redirected: connections that were asked for elsewhere, and led to the throw-away database.
        own_settings: names such as ``app.tenant`` that the application's statements set.
    """

    def __init__(self, sandbox: Sandbox, pool_size: int) -> None:
        self._sandbox = sandbox
        self._pool_size = pool_size
        self.plants: Plants | None = None
        self._original_connect = asyncpg.connect
        self.connections: dict[int, Watched] = {}
        self.pools: list[asyncpg.Pool] = []
        self._resting: dict[int, int] = {}
        self.redirected = 0
        self.own_settings: set[str] = set()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Wrap asyncpg until the block ends."""
        wrapped = {
            (asyncpg.Connection, "__init__"): self._made(asyncpg.Connection.__init__),
            (asyncpg.pool.Pool, "__init__"): self._pooled(asyncpg.pool.Pool.__init__),
            (asyncpg, "connect"): self._connect,
            (asyncpg.connection, "connect"): self._connect,
        }
        for name in _METHODS:
            method = getattr(asyncpg.Connection, name)
            wrapped[asyncpg.Connection, name] = self._called(method)
        originals = {(where, name): getattr(where, name) for where, name in wrapped}
        try:
            for (where, name), value in wrapped.items():
                setattr(where, name, value)
            yield
        finally:
            self.terminate()  # what the application could not close
            for (where, name), value in originals.items():
                setattr(where, name, value)

    def terminate(self) -> None:
        """Close every pool without a word."""
        for pool in self.pools:
            pool.terminate()

    # Where to

    async def _connect(self, dsn: str | None = None, **options: Any) -> asyncpg.Connection:
        if not self._is_ours(dsn, options.get("database")):
            self.redirected += 1
            dsn = self._sandbox.app_url
            options = {k: v for k, v in options.items() if k not in _ADDRESS}
        return await self._original_connect(dsn, **options)

    def _is_ours(self, dsn: str | None, database: object) -> bool:
        named = database or (urlsplit(dsn).path.lstrip("/") if dsn else "")
        return named == self._sandbox.database

    def _pooled(self, original: Callable[..., None]) -> Callable[..., None]:
        def init(pool: asyncpg.Pool, *arguments: Any, **options: Any) -> None:
            options["max_size"] = self._pool_size
            options["min_size"] = min(options["min_size"], self._pool_size)
            options["max_inactive_connection_lifetime"] = 0  # it must meet the next request
            if options.get("connect") is None:
                options["connect"] = self._connect
            original(pool, *arguments, **options)
            self.pools.append(pool)

        return init

    def _made(self, original: Callable[..., None]) -> Callable[..., None]:
        # asyncpg's arguments: protocol, transport, loop, address, configuration, parameters.
        def init(conn: asyncpg.Connection, *arguments: Any, **options: Any) -> None:
            parameters = arguments[5]
            original(conn, *arguments, **options)
            if parameters.database != self._sandbox.database:
                conn.terminate()
                raise LeakcheckError(
                    "the application connects to a database that is not the leak check's: build "
                    "the application in a function that leakcheck calls, or connect by "
                    "asyncpg.connect or create_pool"
                )
            number = len(self.connections) + 1
            self.connections[id(conn)] = Watched(number, conn, parameters.user)

        return init

    # What happens there

    def _called(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def called(
            conn: asyncpg.Connection, query: str, *arguments: Any, **options: Any
        ) -> Any:
            call = current.get()
            if isinstance(query, str):
                self.own_settings.update(name.lower() for name in _OWN_SETTING.findall(query))
            if call is None or call.busy or not isinstance(query, str):
                return await original(conn, query, *arguments, **options)
            self._note(conn, call)
            await self._before(conn, call, query)
            result = await original(conn, query, *arguments, **options)
            self._after(conn, call, query, arguments)
            return result

        called.__name__ = original.__name__
        return called

    def _note(self, conn: asyncpg.Connection, call: Call) -> None:
        call.statements += 1
        watched = self.connections.get(id(conn))
        if watched is None:
            return  # made before the run
        if watched.number not in call.connections:
            call.connections.append(watched.number)
            watched.calls.append(call.number)

    async def _before(self, conn: asyncpg.Connection, call: Call, query: str) -> None:
        ordeal = call.ordeal
        if call.happened or call.statements < ordeal.at:
            return
        match ordeal.event:
            case Event.HANG_UP:
                call.happened = True
                call.hung_up.set()
            case Event.CANCEL if call.task is not None:
                call.happened = True
                call.task.cancel()
            case Event.PLANT if _PLAIN.match(query):
                call.happened = True
                await self._plant(conn, call)

    async def _plant(self, conn: asyncpg.Connection, call: Call) -> None:
        """Run a plant as the view itself would, by whatever class the connection is of."""
        if self.plants is None:
            return
        sql = self.plants.sql(call.ordeal.plant, call.tenant)
        call.busy = True
        try:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
                await conn.execute(sql)
        finally:
            call.busy = False

    def _after(
        self, conn: asyncpg.Connection, call: Call, query: str, arguments: tuple[Any, ...]
    ) -> None:
        if call.ordeal.event is not Event.ERROR or call.happened or not _PLAIN.match(query):
            return
        writes = bool(call.words) and _mentions(call.words, query, arguments)
        if writes or (not call.words and call.statements >= call.ordeal.at):
            call.happened = True
            call.failed_inside = writes and conn.is_in_transaction()
            raise PlannedError("leakcheck made this statement fail")

    def used_by(self, call: Call) -> list[Watched]:
        """Return the connections that *call* used."""
        return [w for w in self.connections.values() if w.number in call.connections]

    @property
    def open(self) -> int:
        """How many connections the application has."""
        return sum(not watched.conn.is_closed() for watched in self.connections.values())

    def rest(self) -> None:
        """Take what is in use now for what the application always holds, such as a listener."""
        self._resting = {id(pool): _taken(pool) for pool in self.pools}

    async def settled(self, seconds: float) -> bool:
        """Wait until no connection is in use or in a transaction; False: one still is."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._in_use():
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.002)
        return True

    def _in_use(self) -> bool:
        open_ = (w.conn for w in self.connections.values() if not w.conn.is_closed())
        return any(conn.is_in_transaction() for conn in open_) or any(
            _taken(pool) > self._resting.get(id(pool), 0) for pool in self.pools
        )


def _taken(pool: asyncpg.Pool) -> int:
    return 0 if pool.is_closing() else int(pool.get_size() - pool.get_idle_size())


def _mentions(words: set[str], query: str, arguments: tuple[Any, ...]) -> bool:
    text = f"{query} {arguments!r}".lower()
    return any(word in text for word in words)
