"""Tenancy in an application: Quart, any ASGI application, a script."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from quart import Quart, websocket
from quart.testing import WebsocketResponseError
from support.asgi import call, lifespan
from support.databases import Database
from support.notes import read
from support.wire import wire

from tenancy import Tenancy, extension, migrate, provision
from tenancy.errors import NotStartedError
from tenancy.problems import MEDIA_TYPE
from tenancy.web import readiness

ACME = {"Host": "acme.example.com"}


@pytest.fixture
def app(tenancy: Tenancy) -> Quart:
    app = Quart(__name__)
    tenancy.init_app(app, probes=True)

    @app.get("/whose")
    async def whose() -> str:
        return tenancy.tenant.slug

    @app.get("/signup")
    @tenancy.exempt
    async def signup() -> str:
        return "welcome"

    @app.get("/fails/<kind>")
    async def fails(kind: str) -> str:
        async with tenancy.transaction() as conn:
            await conn.execute(
                f"DO $$ BEGIN RAISE EXCEPTION 'secret' USING ERRCODE = '{kind}'; END $$"
            )
        return "unreachable"

    @app.get("/bug")
    async def bug() -> str:
        raise ZeroDivisionError("secret")

    @app.websocket("/echo")
    async def echo() -> None:
        async with tenancy.transaction(readonly=True) as conn:
            schema = await conn.fetchval("SELECT current_schema()")
        await websocket.send(f"{tenancy.tenant.slug} {schema == tenancy.tenant.schema}")

    return app


async def test_a_view_is_inside_its_tenant(app: Quart) -> None:
    answer = await app.test_client().get("/whose", headers=ACME)
    assert await answer.get_data() == b"acme"


@pytest.mark.parametrize("host", ["example.com", "nobody.example.com", "acme.example.com"])
async def test_an_exempt_view_answers_on_any_host(app: Quart, host: str) -> None:
    answer = await app.test_client().get("/signup", headers={"Host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/whose", "/no/such/path"])
@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        ("nobody.example.com", 404, "unknown_tenant"),
        ("example.com", 421, "misdirected_request"),
        ("a..b", 400, "malformed_host"),
    ],
)
async def test_a_refused_host_is_a_problem_document(
    app: Quart, path: str, host: str, status: int, code: str
) -> None:
    answer = await app.test_client().get(path, headers={"Host": host})
    assert answer.status_code == status
    assert answer.content_type == MEDIA_TYPE
    assert (await answer.get_json(force=True))["code"] == code


@pytest.mark.parametrize(
    ("sqlstate", "status", "retry"),
    [("40001", 503, "0"), ("40P01", 503, "0"), ("57014", 504, None), ("55P03", 503, "1"),
     ("23505", 500, None), ("42P01", 500, None)],
)  # fmt: skip
async def test_a_database_error_has_its_answer_and_says_nothing_of_itself(
    app: Quart, sqlstate: str, status: int, retry: str | None
) -> None:
    answer = await app.test_client().get(f"/fails/{sqlstate}", headers=ACME)
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == retry
    assert b"secret" not in await answer.get_data()


async def test_the_log_names_the_view_and_the_tenant(
    app: Quart, caplog: pytest.LogCaptureFixture
) -> None:
    await app.test_client().get("/fails/40001", headers=ACME)
    assert "GET /fails/<kind> tenant=acme: serialization_conflict: Serialization" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("name", ["resolver", "principal", "authorize", "connection_init"])
def test_what_cannot_be_called_is_refused_at_once(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be callable, not str"):
        Tenancy(**{name: "x"})  # type: ignore[arg-type]


async def test_the_same_reason_is_logged_once(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extension, "RESTART_SECONDS", 0.3)
    calls: list[int] = []
    fourth = asyncio.Event()

    async def init(_: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            fourth.set()
        raise RuntimeError("mine")

    tenancy = Tenancy(settings=database.settings(), connection_init=init)
    app = Quart(__name__)
    tenancy.init_app(app)
    async with app.test_app():
        await asyncio.wait_for(fourth.wait(), 30)
    assert caplog.text.count("not ready") == 1


async def test_an_applications_own_error_stays_its_own(app: Quart) -> None:
    answer = await app.test_client().get("/bug", headers=ACME)
    assert answer.status_code == 500
    assert b"secret" not in await answer.get_data()


@pytest.mark.parametrize("headers", [[], [(b"host", b"a..b")], [(b"host", b"10.0.0.1")]])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_answered_on_any_host(
    app: Quart, headers: list[tuple[bytes, bytes]], path: str
) -> None:
    answer = await call(app, headers, path)
    assert answer.status == 200
    assert json.loads(answer.body)["status"] in ("ok", "ready")


async def test_a_websocket_is_inside_its_tenant(app: Quart) -> None:
    async with app.test_client().websocket("/echo", headers=ACME) as connection:
        assert await connection.receive() == "acme True"


async def test_a_websocket_of_no_tenant_is_refused(app: Quart) -> None:
    with pytest.raises(WebsocketResponseError) as caught:
        async with app.test_client().websocket(
            "/echo", headers={"Host": "nobody.example.com"}
        ) as connection:
            await connection.receive()
    assert caught.value.response.status_code == 404


async def test_an_application_is_up_before_its_database_and_ready_after(
    empty_database: Database,
) -> None:
    settings = empty_database.settings()
    app = Quart(__name__)
    tenancy = Tenancy(settings=settings)
    tenancy.init_app(app, probes=True)

    @app.get("/")
    async def index() -> str:
        return tenancy.tenant.slug

    async with app.test_app() as running:
        client = running.test_client()
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        answer = await client.get("/", headers=ACME)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        (await migrate.migrate(settings)).raise_for_failures()
        async with provision.administrator(settings) as admin:
            await admin.create("acme")
        for _ in range(40):
            if (await client.get("/readyz")).status_code == 200:
                break
            await asyncio.sleep(0.1)
        assert await (await client.get("/", headers=ACME)).get_data() == b"acme"
    with pytest.raises(NotStartedError):
        _ = tenancy.pool


async def test_any_asgi_application_can_stand_inside(database: Database) -> None:
    tenancy = Tenancy(settings=database.settings())
    life: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{step}"
                life.append(f"{step} {tenancy._pool is not None}")
                await send({"type": f"lifespan.{step}.complete"})
            return
        async with tenancy.transaction() as conn:
            body = str(await conn.fetchval("SELECT count(*) FROM notes")).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    app = tenancy.middleware(inner)
    async with lifespan(app):
        assert (await call(app, [(b"host", b"acme.example.com")])).body == b"0"
        assert (await call(app, [(b"host", b"nobody.example.com")])).status == 404
    assert life == ["startup True", "shutdown True"]
    assert tenancy._pool is None


async def test_an_application_without_a_lifespan_can_stand_inside_too(database: Database) -> None:
    tenancy = Tenancy(settings=database.settings())

    async def inner(scope: Any, _receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": tenancy.tenant.slug.encode()})

    app = tenancy.middleware(inner)
    async with lifespan(app):
        assert (await call(app, [(b"host", b"acme.example.com")])).body == b"acme"
    assert tenancy._pool is None


async def test_a_script_names_its_tenant(database: Database) -> None:
    async with Tenancy(settings=database.settings()) as tenancy:
        async with tenancy.transaction("acme") as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ('from a script')")
        async with tenancy.transaction(await tenancy.find("acme")) as conn:
            assert await conn.fetchval("SELECT body FROM notes") == "from a script"


async def test_codecs_are_set_once_for_all_tenants(database: Database) -> None:
    async def init(conn: asyncpg.Connection) -> None:
        await conn.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )

    settings = database.settings(pool_max_size=1)
    async with Tenancy(settings=settings, connection_init=init) as tenancy:
        for slug in ("acme", "globex", "acme"):
            async with tenancy.transaction(slug) as conn:
                assert await conn.fetchval("SELECT '{\"a\": 1}'::jsonb") == {"a": 1}
        assert tenancy.pool.size == 1


async def test_what_is_not_started_says_so(database: Database) -> None:
    tenancy = Tenancy(settings=database.settings())
    with pytest.raises(NotStartedError, match="async with Tenancy"):
        await read(tenancy, "acme")


async def test_a_thousand_probes_ask_the_database_once(database: Database) -> None:
    async with wire(database.app_url) as line:
        settings = database.settings(database_url=line.url, registry_listen=False)
        tenancy = Tenancy(settings=settings)
        app = Quart(__name__)
        tenancy.init_app(app, probes=True)
        async with app.test_app():
            await call(app, [], "/readyz")  # which prepares the query
            await asyncio.sleep(readiness.TTL_SECONDS)
            line.round_trips = 0
            first = asyncio.create_task(call(app, [], "/readyz"))
            await asyncio.sleep(0)
            probes = [asyncio.create_task(call(app, [], "/readyz")) for _ in range(1000)]
            await asyncio.sleep(0)
            first.cancel()  # a prober that hangs up fails nobody else
            assert {answer.status for answer in await asyncio.gather(*probes)} == {200}
            assert line.round_trips <= 2  # the query, and the connection's reset
