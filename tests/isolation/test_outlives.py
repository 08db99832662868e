"""G1, G7, G8: what outlives a request, under hypercorn and with real clients.

Streams, events, websockets, background tasks and threads. The tenant travels, the connection does
not.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from quart import Quart, Response, current_app, websocket
from quart.utils import run_sync
from support.asgi import call
from support.databases import Database
from support.live import live
from support.notes import read, write

from tenancy import Tenancy, tenant
from tenancy.errors import (
    NoTenantError,
    NotStartedError,
    OtherLoopError,
    ShuttingDownError,
    TenantMismatchError,
    TenantSuspendedError,
)
from tenancy.web import shutdown

ACME = [(b"host", b"acme.example.com")]
INSERT = "INSERT INTO notes (body) VALUES ($1)"


class Site:
    """An application with a pool of two, and what its tasks noted."""

    def __init__(self, database: Database) -> None:
        self.tenancy = Tenancy(
            settings=database.settings(pool_max_size=4, registry_ttl_seconds=0.05)
        )
        self.app = Quart("site")
        self.tenancy.init_app(self.app)
        self.seen: asyncio.Queue[Any] = asyncio.Queue()

    async def note(self, work: Any) -> None:
        """Note what *work* returns or raises."""
        try:
            self.seen.put_nowait(await work)
        except Exception as error:
            self.seen.put_nowait(error)

    async def noted(self) -> Any:
        async with asyncio.timeout(10):
            return await self.seen.get()

    async def whoami(self) -> str:
        async with self.tenancy.transaction(readonly=True) as conn:
            role = await conn.fetchval("SELECT current_user::text")
        slug = self.tenancy.tenant.slug
        assert slug in role
        return slug

    async def all_idle(self) -> None:
        """Wait until every slot is back, and no back end is left in a transaction."""
        async with asyncio.timeout(10):
            while await self._busy():  # noqa: ASYNC110 - neither server nor pool sets an event
                await asyncio.sleep(0.01)

    async def _busy(self) -> bool:
        if self.tenancy.pool.idle < self.tenancy.pool.size:
            return True
        async with self.tenancy.pool.connection() as conn:
            count: int = await conn.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND state LIKE 'idle in transaction%'"
            )
        return count > 0


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


StateOf = Callable[[str, str], Any]


@pytest.fixture
async def set_state(owner: asyncpg.Connection) -> StateOf:
    async def change(slug: str, state: str) -> None:
        await owner.execute("UPDATE tenancy.tenants SET state = $2 WHERE slug = $1", slug, state)
        await asyncio.sleep(0.1)  # over the time to live

    return change


# Streams and events


def _ticking(site: Site) -> None:
    @site.app.get("/ticks")
    async def ticks() -> Response:
        async def events() -> AsyncIterator[str]:
            while True:
                async with site.tenancy.transaction() as conn:
                    await conn.execute(INSERT, "tick")
                    count = await conn.fetchval("SELECT count(*) FROM notes")
                yield f"data: {site.tenancy.tenant.slug} {count}\n\n"
                await asyncio.sleep(0.02)

        response = Response(events(), mimetype="text/event-stream")
        response.timeout = None
        return response


async def test_a_stream_takes_a_block_for_each_step(site: Site) -> None:
    """More clients than connections; each sees its own tenant alone."""
    _ticking(site)
    async with live(site.app) as server:
        slugs = ["acme", "globex", "acme", "globex", "globex"]
        streams = [await server.open("/ticks", f"{slug}.example.com") for slug in slugs]
        for stream in streams:
            assert await stream.status() == 200
        for _ in range(4):
            for slug, stream in zip(slugs, streams, strict=True):
                assert (await stream.chunk()).startswith(f"data: {slug} ".encode())
        for stream in streams:
            stream.hang_up()
        await site.all_idle()


async def test_a_client_that_does_not_read_its_stream_holds_no_connection(site: Site) -> None:
    sent = 0

    @site.app.get("/large")
    async def large() -> AsyncIterator[bytes]:
        async def chunks() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                async with site.tenancy.transaction(readonly=True) as conn:
                    text = await conn.fetchval("SELECT repeat('x', 1000000)")
                sent += 1
                yield text.encode()

        return chunks()

    @site.app.get("/")
    async def view() -> str:
        return await site.whoami()

    async with live(site.app) as server:
        streams = [await server.open("/large") for _ in range(4)]  # of a pool of two
        await site.all_idle()
        before = 0
        async with asyncio.timeout(10):
            while sent > before or not sent:  # until all of them wait for their clients
                before = sent
                await asyncio.sleep(0.2)
        assert site.tenancy.pool.idle == site.tenancy.pool.size
        assert await server.get("/", "globex.example.com") == (200, b"globex")
        for stream in streams:
            stream.hang_up()
        await site.all_idle()


async def test_a_stream_ends_when_its_tenant_is_suspended(site: Site, set_state: StateOf) -> None:
    """It is cut off, which no client takes for its end; who comes again is told why."""
    _ticking(site)
    async with live(site.app) as server:
        stream = await server.open("/ticks")
        assert await stream.status() == 200
        assert await stream.chunk()
        await set_state("acme", "suspended")
        await stream.rest()
        assert not stream.complete
        status, body = await server.get("/ticks")
        assert (status, b"tenant_suspended" in body) == (403, True)
        await site.all_idle()


def _holding(site: Site) -> None:
    @site.app.get("/held")
    async def held() -> AsyncIterator[str]:
        async def rows() -> AsyncIterator[str]:
            async with site.tenancy.transaction() as conn:
                await conn.execute(INSERT, "held")
                while True:
                    yield f"{await conn.fetchval('SELECT count(*) FROM notes')}\n"
                    await asyncio.sleep(0.02)

        return rows()


async def test_a_stream_that_holds_its_block_is_warned_of(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    shutdown._holding_paths.clear()
    _holding(site)
    _ticking(site)
    async with live(site.app) as server:
        for path in ("/held", "/held", "/ticks"):
            stream = await server.open(path)
            assert await stream.status() == 200
            assert [bool(await stream.chunk()) for _ in range(3)] == [True] * 3
            stream.hang_up()
            await site.all_idle()
    warnings = [r.getMessage() for r in caplog.records if "inside tenancy" in r.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].startswith("/held ")


async def test_a_client_that_hangs_up_gives_the_slot_of_its_stream_back(site: Site) -> None:
    _holding(site)
    async with live(site.app) as server:
        for _ in range(5):  # of a pool of two
            stream = await server.open("/held")
            assert await stream.status() == 200
            assert await stream.chunk()
            stream.hang_up()
            await site.all_idle()
        assert await read(site.tenancy, "acme") == []


# Websockets


def _talking(site: Site) -> None:
    @site.app.websocket("/talk")
    async def talk() -> None:
        while True:
            said = await websocket.receive()
            if said == "nest":
                async with site.tenancy.transaction(), site.tenancy.transaction():
                    pass
            if said == "fail":
                raise ZeroDivisionError
            if said == "other":
                async with site.tenancy.transaction("globex"):
                    pass
            async with site.tenancy.transaction() as conn:
                await conn.execute(INSERT, said)
                if said == "hold":
                    await websocket.send("holding")
                    await asyncio.sleep(30)
            await websocket.send(await site.whoami())


async def test_a_websocket_serves_the_tenant_of_its_handshake(site: Site) -> None:
    _talking(site)
    async with live(site.app) as server:
        sockets = {
            s: await server.websocket("/talk", f"{s}.example.com") for s in ("acme", "globex")
        }
        for _ in range(3):
            for slug, socket in sockets.items():
                assert await socket.ask(f"of {slug}") == slug
        assert set(await read(site.tenancy, "acme")) == {"of acme"}
        refused = await server.websocket("/talk", "nobody.example.com")
        assert refused.refused == 404


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        ("suspended", 1008, "tenant_suspended"),
        ("deleting", 1008, "unknown_tenant"),
        ("provisioning", 1013, "tenant_not_ready"),
    ],
)
async def test_a_websocket_is_told_why_its_tenant_is_served_no_more(
    site: Site, set_state: StateOf, state: str, code: int, reason: str
) -> None:
    _talking(site)
    async with live(site.app) as server:
        socket = await server.websocket("/talk")
        assert await socket.ask("first") == "acme"
        await set_state("acme", state)
        assert await socket.ask("second") == code
        assert socket.reason == reason
    async with Tenancy(settings=site.tenancy.settings) as tenancy:
        await set_state("acme", "active")
        assert await read(tenancy, "acme") == ["first"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("nest", "nested_transaction"),
        ("other", "tenant_mismatch"),
        ("fail", "internal_error"),
    ],
)
async def test_a_websocket_that_errs_is_not_closed_as_if_all_were_well(
    site: Site, said: str, reason: str
) -> None:
    _talking(site)
    async with live(site.app) as server:
        socket = await server.websocket("/talk")
        assert await socket.ask(said) == 1011
        assert socket.reason == reason
        await site.all_idle()


async def test_a_websocket_that_hangs_up_in_a_block_saves_nothing(site: Site) -> None:
    _talking(site)
    async with live(site.app) as server:
        for _ in range(3):
            socket = await server.websocket("/talk")
            assert await socket.ask("hold") == "holding"
            socket.hang_up()
            await site.all_idle()
        assert await read(site.tenancy, "acme") == []


# Tasks


async def test_a_background_task_goes_on_for_its_tenant_after_the_answer(
    site: Site, set_state: StateOf
) -> None:
    answered = asyncio.Event()

    async def later() -> None:
        await answered.wait()
        await site.note(site.whoami())

    @site.app.get("/app")
    async def by_app() -> str:
        site.app.add_background_task(later)
        return "ok"

    @site.app.get("/current")
    async def by_current_app() -> str:
        current_app.add_background_task(later)
        return "ok"

    @site.app.get("/task")
    async def by_task() -> str:
        async with site.tenancy.transaction():  # a task is not inside the block that started it
            tasks.add(asyncio.create_task(later()))
        return "ok"

    tasks: set[asyncio.Task[None]] = set()
    async with live(site.app) as server:
        for path in ("/app", "/current", "/task"):
            for slug in ("acme", "globex"):
                answered.clear()
                assert await server.get(path, f"{slug}.example.com") == (200, b"ok")
                answered.set()
                assert await site.noted() == slug
            answered.clear()
            assert await server.get(path) == (200, b"ok")
            await set_state("acme", "suspended")
            answered.set()
            assert isinstance(await site.noted(), TenantSuspendedError)
            await set_state("acme", "active")


async def test_tasks_of_a_group_each_take_a_block(site: Site) -> None:
    @site.app.get("/")
    async def view() -> str:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(site.whoami()) for _ in range(6)]
        return ",".join({task.result() for task in tasks})

    async with live(site.app) as server:
        answers = await asyncio.gather(
            *(server.get("/", f"{slug}.example.com") for slug in ("acme", "globex") * 5)
        )
        assert answers == [(200, b"acme"), (200, b"globex")] * 5


async def test_a_thread_knows_the_tenant_and_leaves_the_work_to_the_loop(site: Site) -> None:
    @site.app.get("/")
    async def view() -> str:
        loop = asyncio.get_running_loop()

        def work() -> str:
            there = asyncio.run_coroutine_threadsafe(site.whoami(), loop).result(5)
            return f"{site.tenancy.tenant.slug} {there}"

        await site.note(run_sync(work)())
        return await asyncio.to_thread(work)

    async with live(site.app) as server:
        assert await server.get("/", "globex.example.com") == (200, b"globex globex")
        assert await site.noted() == "globex globex"


async def test_a_loop_of_its_own_is_refused_and_breaks_nothing(site: Site) -> None:
    @site.app.get("/")
    async def view() -> str:
        def work() -> str:
            return asyncio.run(site.whoami())

        with pytest.raises(OtherLoopError, match="run_coroutine_threadsafe"):
            await asyncio.to_thread(work)
        return await site.whoami()

    async with live(site.app) as server:
        assert await server.get("/") == (200, b"acme")


async def test_a_thread_without_the_context_has_no_tenant(site: Site) -> None:
    @site.app.get("/")
    async def view() -> str:
        def work() -> str:
            return site.tenancy.tenant.slug

        with pytest.raises(NoTenantError, match="to_thread"):
            await asyncio.get_running_loop().run_in_executor(None, work)
        return "ok"

    async with live(site.app) as server:
        assert await server.get("/") == (200, b"ok")


# Singletons that a request happens to start


class Worker:
    """Started by whoever comes first, as connection pools, caches and listeners are."""

    def __init__(self, site: Site, *, detached: bool) -> None:
        self.site, self.detached = site, detached
        self.jobs: asyncio.Queue[str | None] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    async def work(self) -> None:
        while True:
            slug = await self.jobs.get()
            await self.site.note(self.run(slug))

    async def run(self, slug: str | None) -> str:
        async with self.site.tenancy.transaction(slug) as conn:
            return str(await conn.fetchval("SELECT current_user::text"))

    def start(self) -> None:
        if self.task is None and self.detached:
            with self.site.tenancy.detached():
                self.task = asyncio.create_task(self.work())
        elif self.task is None:
            self.task = asyncio.create_task(self.work())


@pytest.mark.parametrize("detached", [True, False])
async def test_a_worker_that_the_first_request_starts(site: Site, detached: bool) -> None:
    """Detached it is nobody's; otherwise another tenant's job is an error, never a mix-up."""
    worker = Worker(site, detached=detached)

    @site.app.get("/")
    async def view() -> str:
        worker.start()
        worker.jobs.put_nowait(site.tenancy.tenant.slug)
        return "ok"

    async with live(site.app) as server:
        assert await server.get("/") == (200, b"ok")
        assert "acme" in await site.noted()
        assert await server.get("/", "globex.example.com") == (200, b"ok")
        second = await site.noted()
        worker.jobs.put_nowait(None)  # a job that forgot to say for whom
        unnamed = await site.noted()
        assert worker.task
        worker.task.cancel()
    if detached:
        assert "globex" in second
        assert isinstance(unnamed, NoTenantError)
    else:
        assert isinstance(second, TenantMismatchError)
        assert "tenancy.detached()" in str(second)


async def test_a_task_that_lives_on_for_its_tenant_is_warned_of_once(
    tenancy: Tenancy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = asyncio.Event()

    async def work() -> None:
        for _ in range(3):
            await goes_on.wait()
            async with tenancy.transaction():
                pass

    with tenant.serving(await tenancy.find("acme")):
        task = asyncio.create_task(work())
    later = time.monotonic() + tenant.LINGERING_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    goes_on.set()
    await task
    assert [r.levelno for r in caplog.records if "detached()" in r.getMessage()] == [
        logging.WARNING
    ]


async def test_putting_the_tenant_aside_opens_no_way_to_another(tenancy: Tenancy) -> None:
    with tenant.serving(await tenancy.find("acme")):
        with tenancy.detached():
            for of in (None, "acme", "globex"):
                with pytest.raises(NoTenantError):
                    async with tenancy.transaction(of):
                        pass
            with pytest.raises(NoTenantError, match="detached"):
                async with tenancy.serving("globex"):
                    pass
        assert tenancy.tenant.slug == "acme"


# The end of the server


async def test_the_end_of_the_server_ends_what_outlives_requests(site: Site) -> None:
    """The drained background task is saved; a stream and a websocket in a block save nothing."""
    _holding(site)
    _talking(site)

    @site.app.get("/later")
    async def view() -> str:
        async def later() -> None:
            await asyncio.sleep(0.3)
            await write(site.tenancy, "acme", "background")

        site.app.add_background_task(later)
        return "ok"

    async with Tenancy(settings=site.tenancy.settings) as tenancy:
        async with live(site.app, graceful_seconds=0.2) as server:
            stream = await server.open("/held")
            assert await stream.status() == 200
            assert await stream.chunk()
            holding = await server.websocket("/talk")
            assert await holding.ask("hold") == "holding"
        # They had all that one tenant may have; the rest is of a second server.
        await stream.rest()
        assert not stream.complete
        assert await holding.hear() == 1012
        assert holding.reason == "shutting_down"
        assert await read(tenancy, "acme") == []
        async with live(site.app, graceful_seconds=0.2) as server:
            assert await server.get("/later") == (200, b"ok")
            idle = await server.websocket("/talk")
            assert await idle.ask("said") == "acme"
        assert await idle.hear() == 1012
        assert await read(tenancy, "acme") == ["said", "background"]


async def test_a_task_that_outlives_the_server_is_told_so(site: Site) -> None:
    stopped = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    @site.app.get("/")
    async def view() -> str:
        async def later() -> None:
            await stopped.wait()
            await site.note(site.whoami())

        tasks.add(asyncio.create_task(later()))
        return "ok"

    async with live(site.app) as server:
        assert await server.get("/") == (200, b"ok")
    stopped.set()
    error = await site.noted()
    assert isinstance(error, NotStartedError)
    assert error.retryable


async def test_a_task_of_a_request_that_was_refused_commits_nothing_later(
    tenancy: Tenancy,
) -> None:
    """And a worker that the request has started detached is none of its."""
    app = Quart(__name__)
    tenancy.init_app(app)
    seen: list[Any] = []
    refused = asyncio.Event()
    tasks = []

    async def later(of: str | None) -> None:
        await refused.wait()
        try:
            async with tenancy.transaction(of) as conn:
                await conn.execute(INSERT, f"of {of}")
        except ShuttingDownError as error:
            seen.append(error)

    @app.get("/")
    async def view() -> str:
        tasks.append(asyncio.create_task(later(None)))
        with tenancy.detached():
            tasks.append(asyncio.create_task(later("acme")))
        await asyncio.sleep(30)
        return "never"

    await tenancy.find("acme")
    request = asyncio.create_task(call(app, ACME))
    await asyncio.sleep(0.1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    refused.set()
    await asyncio.gather(*tasks)
    assert len(seen) == 1
    assert await read(tenancy, "acme") == ["of acme"]


@pytest.mark.parametrize("slug", ["acme", "nobody"])
async def test_a_job_run_inside_a_request_is_in_its_books(tenancy: Tenancy, slug: str) -> None:
    """Cancelled after the job has committed, it is not told that nothing was saved."""
    app = Quart(__name__)
    tenancy.init_app(app)
    saved = asyncio.Event()

    @tenancy.task
    async def job() -> None:
        await write_note()

    async def write_note() -> None:
        async with tenancy.transaction() as conn:
            await conn.execute(INSERT, "job")

    @app.get("/")
    @tenancy.exempt
    async def view() -> str:
        async with tenancy.serving("acme"):
            queued: Any = job
            await queued(envelope=tenancy.envelope())
        saved.set()
        await asyncio.sleep(30)
        return "never"

    sent: list[Any] = []
    host = [(b"host", f"{slug}.example.com".encode())]
    request = asyncio.create_task(call(app, host, sent=sent))
    await saved.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert b"commit_unknown" in sent[1]["body"]
    assert await read(tenancy, "acme") == ["job"]
