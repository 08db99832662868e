"""Small applications with hand-written scopes, each with one planted bug; and one with none."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from quart import Quart, Response, abort, g, request

NOTES = """
    CREATE TABLE notes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL CHECK (body <> '')
    );
"""
SHARED_NOTES = """
    CREATE TABLE tenants (id int PRIMARY KEY, name text NOT NULL UNIQUE);
    CREATE TABLE notes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant_id int NOT NULL REFERENCES tenants,
        body text NOT NULL
    );
"""
FORGET = "CLOSE ALL; UNLISTEN *; DISCARD TEMP; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL"


def slug() -> str:
    return request.host.split(".")[0]


class Base:
    """Notes behind a pool; the scope is right, and everything may be overridden."""

    reset = FORGET

    def __init__(self) -> None:
        self.pool: Any = None

    def app(self) -> Quart:
        app = Quart(type(self).__name__)
        app.before_serving(self.start)
        app.after_serving(self.stop)
        app.add_url_rule("/notes", "list", self.list)
        app.add_url_rule("/notes/<int:note_id>", "read", self.read)
        app.add_url_rule("/notes", "write", self.write, methods=["POST"])
        app.add_url_rule("/notes/<int:note_id>", "delete", self.delete, methods=["DELETE"])
        return app

    async def start(self) -> None:
        async def reset(conn: Any) -> None:
            if self.reset:
                await conn.execute(self.reset + "; SELECT pg_advisory_unlock_all()")

        # The address is nobody's: the leak check leads elsewhere whoever connects.
        self.pool = await asyncpg.create_pool(
            "postgresql://nobody@127.0.0.1:1/production", reset=reset
        )

    async def stop(self) -> None:
        await self.pool.close()

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[Any]:
        async with self.pool.acquire() as conn, conn.transaction():
            await conn.execute(f'SET LOCAL search_path = "{slug()}", pg_temp')
            await conn.execute("SET LOCAL leaky.scope = 'mine'")
            yield conn
            if await conn.fetchval("SELECT current_setting('leaky.scope', true)") != "mine":
                raise RuntimeError("the scope was left")

    async def refuse(self, note_id: int) -> Any:
        abort(403, str(note_id))

    async def list(self) -> Any:
        async with self.scope() as conn:
            return [row["body"] for row in await conn.fetch("SELECT body FROM notes ORDER BY id")]

    async def read(self, note_id: int) -> Any:
        async with self.scope() as conn:
            row = await conn.fetchrow("SELECT id, body FROM notes WHERE id = $1", note_id)
        return dict(row) if row is not None else abort(404)

    async def write(self) -> Any:
        draft = (await request.get_json(silent=True)) or (await request.form)
        async with self.scope() as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ($1)", draft["body"])
        return "", 201

    async def delete(self, note_id: int) -> Any:
        async with self.scope() as conn:
            await conn.execute("DELETE FROM notes WHERE id = $1", note_id)
        return "", 204


class Clean(Base):
    """No bug."""


class Listener(Base):
    """No bug: one connection of the pool listens for as long as the application runs."""

    async def start(self) -> None:
        await super().start()
        self.listener = await self.pool.acquire()
        await self.listener.add_listener("news", lambda *_: None)

    async def stop(self) -> None:
        await self.listener.remove_listener("news", lambda *_: None)
        self.pool.terminate()


class SessionPath(Base):
    """`SET search_path` for the session, and one view that relies on somebody having set it."""

    reset = ""

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[Any]:
        async with self.pool.acquire() as conn:
            if request.path != "/notes" or request.method != "GET":
                await conn.execute(f'SET search_path = "{slug()}"')
            yield conn


class CommitInTeardown(Base):
    """Commits unless there was an exception, which Quart's teardown is never told of."""

    def app(self) -> Quart:
        app = super().app()
        app.before_request(self.begin)
        app.teardown_request(self.commit)
        return app

    async def begin(self) -> None:
        g.conn = await self.pool.acquire()
        g.transaction = g.conn.transaction()
        await g.transaction.start()
        await g.conn.execute(f'SET LOCAL search_path = "{slug()}", pg_temp')

    async def commit(self, error: BaseException | None) -> None:
        if "transaction" in g:
            await (g.transaction.rollback() if error else g.transaction.commit())
            await self.pool.release(g.conn)

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[Any]:
        yield g.conn


class Cache(Base):
    """A cache keyed by the path alone."""

    def __init__(self) -> None:
        super().__init__()
        self.cached: dict[str, Any] = {}

    async def list(self) -> Any:
        if request.path not in self.cached:
            self.cached[request.path] = await super().list()
        return self.cached[request.path]


class GlobalConnection(Base):
    """One connection for all requests, and a path that another request changes meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def start(self) -> None:
        self.conn = await asyncpg.connect("postgresql://nobody@127.0.0.1:1/production")

    async def stop(self) -> None:
        await self.conn.close()

    async def list(self) -> Any:
        async with self.lock:
            await self.conn.execute(f'SET search_path = "{slug()}"')
        await asyncio.sleep(0)
        async with self.lock:
            return [row["body"] for row in await self.conn.fetch("SELECT body FROM notes")]

    read = write = delete = list  # type: ignore[assignment]  # noqa: A003


class TemporaryTable(Base):
    """A report in a temporary table that is made once for each connection."""

    reset = "RESET ALL"

    async def list(self) -> Any:
        async with self.scope() as conn:
            await conn.execute("CREATE TEMP TABLE IF NOT EXISTS report AS SELECT body FROM notes")
            return [row["body"] for row in await conn.fetch("SELECT body FROM report")]


class Plain(Base):
    """asyncpg's own reset, which is enough until somebody makes a temporary table."""

    async def start(self) -> None:
        self.pool = await asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/production")


class KeptConnection(Base):
    """Gives its connection back only when all went well."""

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[Any]:
        conn = await self.pool.acquire()
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(f'SET LOCAL search_path = "{slug()}", pg_temp')
        yield conn
        await transaction.commit()
        await self.pool.release(conn)


class Role(Base):
    """`SET ROLE` for the session; asyncpg's own reset keeps it."""

    reset = "RESET ALL"

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[Any]:
        async with super().scope() as conn:
            await conn.execute("SELECT set_config('role', session_user::text, false)")
            yield conn


class LastTenant(Base):
    """The tenant in a variable of the module, which the next request overwrites."""

    current = ""

    async def read(self, note_id: int) -> Any:
        self.current = slug()
        async with self.pool.acquire() as conn, conn.transaction():
            await conn.execute(f'SET LOCAL search_path = "{self.current}", pg_temp')
            row = await conn.fetchrow("SELECT body FROM notes WHERE id = $1", note_id)
        return dict(row) if row is not None else abort(404)


class Worker(Base):
    """A background task, started by the first request, that keeps that request's tenant."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    async def write(self) -> Any:
        draft = (await request.get_json(silent=True)) or (await request.form)
        await self.queue.put(draft["body"])
        if self.task is None:
            self.task = asyncio.create_task(self.work(slug()))
        return "", 202

    async def work(self, tenant: str) -> None:
        while True:
            body = await self.queue.get()
            async with self.pool.acquire() as conn:
                await conn.execute(f'INSERT INTO "{tenant}".notes (body) VALUES ($1)', body)

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
        await super().stop()


class Header(Base):
    """A header made of the last note that anybody has read."""

    last = ""

    async def read(self, note_id: int) -> Any:
        found = await super().read(note_id)
        header, self.last = self.last, found["body"]
        return found, {"X-Last-Note": header}


class EntityTag(Base):
    """An ETag made of the path: a cache in between cannot tell the tenants apart."""

    async def list(self) -> Any:
        tag = hashlib.sha256(request.path.encode()).hexdigest()[:16]
        return await super().list(), {"ETag": f'"{tag}"'}


class Stream(Base):
    """A stream that reads, when it is sent, what is global by then."""

    rows: tuple[str, ...] = ()

    async def list(self) -> Any:
        self.rows = tuple(await super().list())

        async def lines() -> AsyncIterator[bytes]:
            for place in range(len(self.rows)):
                await asyncio.sleep(0.03)
                yield self.rows[place].encode() + b"\n"

        return Response(lines(), mimetype="text/plain")


class Rows(Base):
    """All tenants in one table, and each statement with its WHERE."""

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[Any]:
        async with self.pool.acquire() as conn, conn.transaction():
            await conn.execute("SET LOCAL search_path = public, pg_temp")
            g.tenant = await conn.fetchval("SELECT id FROM tenants WHERE name = $1", slug())
            yield conn

    async def list(self) -> Any:
        async with self.scope() as conn:
            rows = await conn.fetch("SELECT body FROM notes WHERE tenant_id = $1", g.tenant)
        return [row["body"] for row in rows]

    async def read(self, note_id: int) -> Any:
        async with self.scope() as conn:
            row = await conn.fetchrow(
                "SELECT body FROM notes WHERE id = $1 AND tenant_id = $2", note_id, g.tenant
            )
        return dict(row) if row is not None else abort(404)

    async def write(self) -> Any:
        draft = (await request.get_json(silent=True)) or (await request.form)
        async with self.scope() as conn:
            await conn.execute(
                "INSERT INTO notes (tenant_id, body) VALUES ($1, $2)", g.tenant, draft["body"]
            )
        return "", 201

    async def delete(self, note_id: int) -> Any:
        async with self.scope() as conn:
            await conn.execute(
                "DELETE FROM notes WHERE id = $1 AND tenant_id = $2", note_id, g.tenant
            )
        return "", 204


class MissingWhere(Rows):
    """One view has forgotten it."""

    async def read(self, note_id: int) -> Any:
        async with self.scope() as conn:
            row = await conn.fetchrow("SELECT body FROM notes WHERE id = $1", note_id)
        return dict(row) if row is not None else abort(404)


class DeleteWithoutWhere(Rows):
    """The one that deletes has."""

    async def delete(self, note_id: int) -> Any:
        async with self.scope() as conn:
            await conn.execute("DELETE FROM notes WHERE id = $1", note_id)
        return "", 204


class SessionSetting(Rows):
    """Row-level security whose setting is set for the session."""

    reset = "RESET ROLE"

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[Any]:
        async with super().scope() as conn:
            await conn.execute("SELECT set_config('app.tenant', $1, false)", str(g.tenant))
            yield conn
