"""Whom a view is for, who may use a tenant, and whose a session is: in a Quart application."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest
from quart import Blueprint, Quart, request, session, url_for, websocket
from quart.testing import WebsocketResponseError
from quart.typing import TestClientProtocol as Client
from quart.views import View
from support.databases import Database

from tenancy import Tenancy, by_path
from tenancy.web.audience import Audience, Audiences

ACME, GLOBEX, APEX, OPS = (
    {"Host": host}
    for host in ("acme.example.com", "globex.example.com", "example.com", "ops.example.com")
)

Serve = Callable[..., tuple[Quart, Tenancy]]


@pytest.fixture
async def serve(tenancy: Tenancy, database: Database) -> Serve:
    """Make an application whose tenants are acme and globex, on one started pool."""

    def made(resolver: Any = None, **options: Any) -> tuple[Quart, Tenancy]:
        set_up = {k: options.pop(k) for k in ("principal", "authorize") if k in options}
        bind = options.pop("bind_sessions", True)
        settings = database.settings(operator_hosts=("ops.example.com",), **options)
        own = Tenancy(resolver, settings=settings, **set_up)
        own._pool, own._registry = tenancy._pool, tenancy._registry
        app = Quart("tested")
        app.secret_key = "s" * 32
        app.config["SESSION_COOKIE_DOMAIN"] = ".example.com"
        own.init_app(app, bind_sessions=bind)
        return app, own

    return made


async def _status(client: Client, path: str, host: Any, method: str = "GET") -> int:
    ask = getattr(client, method.lower())
    return int((await ask(path, headers=host)).status_code)


async def _code(client: Client, path: str, host: Any) -> object:
    answer = await client.get(path, headers=host)
    return (await answer.get_json(force=True))["code"]


# Whom a view is for


def _undone(view: Any) -> Any:
    @functools.wraps(view)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        return await view(*args, **kwargs)

    return wrapped


def _unmarked(view: Any) -> Any:
    return view


def _marked(app: Quart, own: Tenancy) -> None:
    """Views /<audience> of every mark, by themselves, under decorators, in blueprints."""

    async def ok() -> str:
        return "ok"

    def fresh() -> Any:
        async def view() -> str:
            return "ok"

        return view

    marks: dict[str, Any] = {
        "tenants": _unmarked,
        "public": own.public,
        "everyone": own.exempt,
        "operator": own.operator,
    }
    for name, mark in marks.items():
        app.add_url_rule(f"/{name}", name, mark(fresh()))
        app.add_url_rule(f"/under/{name}", f"under-{name}", _undone(_undone(mark(fresh()))))
        outer, inner = Blueprint(f"o-{name}", "t"), Blueprint("inner", "t")
        inner.add_url_rule(f"/inner/{name}", "view", fresh())
        outer.add_url_rule(f"/outer/{name}", "view", fresh())
        outer.add_url_rule(f"/outer/{name}/but/tenants", "but", own.tenant_only(fresh()))
        outer.register_blueprint(inner)
        mark(outer)
        app.register_blueprint(outer, name=f"renamed-{name}")
    # The innermost mark counts.
    outer, inner = Blueprint("a", "t"), Blueprint("b", "t")
    inner.add_url_rule("/nested/operator", "view", ok)
    inner.add_url_rule("/nested/everyone", "mine", own.exempt(fresh()))
    outer.add_url_rule("/nested/public", "view", ok)
    outer.register_blueprint(inner)
    own.public(outer)
    own.operator(inner)
    app.register_blueprint(outer)

    @own.exempt
    class Open(View):
        async def dispatch_request(self, **_: Any) -> str:
            return "ok"

    app.add_url_rule("/class/everyone", view_func=Open.as_view("open"))


EXPECTED = {  # by host: acme, the apex, nobody, the operator's
    "tenants": (200, 421, 404, 421),
    "public": (200, 421, 404, 421),
    "everyone": (200, 200, 200, 200),
    "operator": (404, 421, 404, 200),
}


@pytest.mark.parametrize(
    "form", ["/{}", "/under/{}", "/outer/{}", "/inner/{}", "/nested/{}", "/class/{}"]
)
async def test_a_view_answers_its_audience_alone(serve: Serve, form: str) -> None:
    app, own = serve()
    _marked(app, own)
    client = app.test_client()
    paths = {rule.rule for rule in app.url_map.iter_rules()}
    for audience, expected in EXPECTED.items():
        path = form.format(audience)
        if path not in paths:
            continue
        hosts = (ACME, APEX, {"Host": "nobody.example.com"}, OPS)
        seen = tuple([await _status(client, path, host) for host in hosts])
        assert seen == expected, path
        assert await _status(client, path, {"Host": "a..b"}) == 400


async def test_a_views_own_mark_goes_before_its_blueprints(serve: Serve) -> None:
    app, own = serve()
    _marked(app, own)
    for audience in EXPECTED:
        path = f"/outer/{audience}/but/tenants"
        assert await _status(app.test_client(), path, ACME) == 200
        assert await _status(app.test_client(), path, OPS) == 421


async def test_an_operators_view_is_like_no_view_at_all_elsewhere(serve: Serve) -> None:
    app, own = serve()
    _marked(app, own)
    answers = [
        await app.test_client().get(path, headers=ACME) for path in ("/operator", "/no/such/path")
    ]
    assert len({(a.status_code, await a.get_data(), a.content_type) for a in answers}) == 1


async def test_the_operators_host_routes_as_any(serve: Serve) -> None:
    app, own = serve()
    _marked(app, own)
    assert await _status(app.test_client(), "/no/such/path", OPS) == 404
    assert await _status(app.test_client(), "/operator", OPS, "POST") == 405


async def test_an_operators_view_has_no_tenant(serve: Serve) -> None:
    app, own = serve()

    @app.get("/")
    @own.operator
    async def view() -> str:
        async with own.transaction():
            return "never"

    assert await _status(app.test_client(), "/", OPS) == 500


async def test_a_websocket_answers_its_audience_alone(serve: Serve) -> None:
    app, own = serve()

    @app.websocket("/operator")
    @own.operator
    async def operators() -> None:
        await websocket.send("ok")

    @app.websocket("/tenants")
    async def tenants() -> None:
        await websocket.send("ok")

    async def answer(path: str, host: Any) -> int:
        async with app.test_client().websocket(path, headers=host) as connection:
            try:
                return 200 if await connection.receive() == "ok" else 0
            except WebsocketResponseError as error:
                return error.response.status_code

    assert [await answer("/operator", host) for host in (OPS, ACME, APEX)] == [200, 404, 421]
    assert [await answer("/tenants", host) for host in (ACME, OPS, APEX)] == [200, 421, 421]


def test_two_marks_on_one_view_are_an_error() -> None:
    audiences, view = Audiences(), object()
    audiences.mark(view, Audience.PUBLIC)
    audiences.mark(view, Audience.PUBLIC)
    with pytest.raises(ValueError, match="PUBLIC"):
        audiences.mark(view, Audience.OPERATOR)


async def test_a_path_prefix_reaches_the_views_and_their_links(serve: Serve) -> None:
    app, own = serve(by_path())

    @app.get("/")
    async def index() -> str:
        return f"{own.tenant.slug} {url_for('index')}"

    @app.websocket("/")
    async def socket() -> None:
        await websocket.send(own.tenant.slug)

    client = app.test_client()
    for slug in ("acme", "globex"):
        for path in (f"/t/{slug}", f"/t/{slug}/"):
            answer = await client.get(path, headers=APEX)
            assert await answer.get_data(as_text=True) == f"{slug} /t/{slug}/"
    async with client.websocket("/t/acme/", headers=APEX) as connection:
        assert await connection.receive() == "acme"
    assert await _status(client, "/", APEX) == 400


# Who may use a tenant

MEMBERS = {"ann": "acme", "bob": "globex", "eve": "nobody"}


def _by_password(scope: Any) -> str | None:
    """Stands for an application's own way to know who asks; in Quart the request is there."""
    assert scope["path"] == request.path if scope["type"] == "http" else websocket.path
    current = request if scope["type"] == "http" else websocket
    return current.headers.get("X-User")


def _as(user: str | None, host: Any) -> Any:
    return {**host, **({"X-User": user} if user else {})}


def _with_views(app: Quart, own: Tenancy, ran: list[str]) -> None:
    async def view() -> str:
        ran.append(own.tenant.slug)
        return str(own.principal)

    async def log_in() -> str:
        return f"hello {own.principal}"

    async def sign_up() -> str:
        return "welcome"

    app.add_url_rule("/", "view", view)
    app.add_url_rule("/log-in", "log-in", own.public(log_in))
    app.add_url_rule("/sign-up", "sign-up", own.exempt(sign_up))

    @app.websocket("/ws")
    async def socket() -> None:
        ran.append(own.tenant.slug)
        await websocket.send("ok")


@pytest.mark.parametrize("is_async", [False, True])
async def test_authorize_is_asked_before_each_view(serve: Serve, is_async: bool) -> None:
    def plain(principal: Any, tenant: Any) -> bool:
        return bool(MEMBERS[principal] == tenant.slug)

    async def awaited(principal: Any, tenant: Any) -> bool:
        return plain(principal, tenant)

    app, own = serve(principal=_by_password, authorize=awaited if is_async else plain)
    ran: list[str] = []
    _with_views(app, own, ran)
    client = app.test_client()
    # One client, one connection, one principal after the other: nothing is remembered.
    for _ in range(3):
        for user, expected in (("ann", 200), ("bob", 403), (None, 401), ("eve", 403)):
            answer = await client.get("/", headers=_as(user, ACME))
            assert answer.status_code == expected
            assert (expected == 401) is ("WWW-Authenticate" in answer.headers)
            assert expected != 200 or await answer.get_data(as_text=True) == user
        assert await _status(client, "/", _as("bob", GLOBEX)) == 200
    assert ran == ["acme", "globex"] * 3
    assert await _code(client, "/", _as("bob", ACME)) == "forbidden"
    assert await _code(client, "/", ACME) == "unauthenticated"
    assert await _status(client, "/sign-up", APEX) == 200
    hello = await client.get("/log-in", headers=_as("bob", ACME))
    assert await hello.get_data(as_text=True) == "hello bob"
    assert await _status(client, "/log-in", ACME) == 200
    # A browser asks without credentials what it may ask.
    assert await _status(client, "/", ACME, "OPTIONS") == 200


async def test_authorize_is_asked_before_a_websocket(serve: Serve) -> None:
    app, own = serve(
        principal=_by_password, authorize=lambda who, tenant: MEMBERS[who] == tenant.slug
    )
    ran: list[str] = []
    _with_views(app, own, ran)
    for user, status in (("bob", 403), (None, 401)):
        with pytest.raises(WebsocketResponseError) as caught:
            async with app.test_client().websocket("/ws", headers=_as(user, ACME)) as connection:
                await connection.receive()
        assert caught.value.response.status_code == status
    assert not ran
    async with app.test_client().websocket("/ws", headers=_as("ann", ACME)) as connection:
        assert await connection.receive() == "ok"


async def test_a_question_that_fails_admits_nobody(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def authorize(principal: Any, _tenant: Any) -> bool:
        return bool(MEMBERS[principal])

    app, own = serve(principal=_by_password, authorize=authorize)
    ran: list[str] = []
    _with_views(app, own, ran)
    with caplog.at_level(logging.CRITICAL):
        assert await _status(app.test_client(), "/", _as("mallory", ACME)) == 500
    assert not ran


# Whose a session is


def _another(view: Any) -> Any:
    """A function of its own: a mark is on a function, and these have four."""

    async def rule() -> Any:
        return await view()

    return rule


def _with_sessions(app: Quart, own: Tenancy) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []

    async def read() -> dict[str, Any]:
        seen.append({k: v for k, v in session.items() if not k.startswith("_")})
        return seen[-1]

    async def write() -> str:
        session["user"] = request.args["user"]
        return "ok"

    async def log_out() -> str:
        session.pop("user", None)
        return "ok"

    async def socket() -> None:
        await read()
        await websocket.send("ok")

    for prefix, mark in (
        ("", _unmarked), ("/public", own.public), ("/exempt", own.exempt),
        ("/operator", own.operator),
    ):  # fmt: skip
        for view in (read, write, log_out):
            name = view.__name__.replace("_", "-")
            app.add_url_rule(f"{prefix}/{name}", f"{prefix}{name}", mark(_another(view)))
    app.add_websocket("/ws", "ws", socket)
    return seen


async def test_a_session_made_for_one_tenant_is_refused_for_another(serve: Serve) -> None:
    app, own = serve()
    seen = _with_sessions(app, own)
    client = app.test_client()
    assert await _status(client, "/write?user=1", ACME) == 200
    assert await _status(client, "/read", ACME) == 200
    assert seen.pop() == {"user": "1"}
    assert await _status(client, "/read", GLOBEX) == 403
    assert await _code(client, "/write?user=2", GLOBEX) == "session_of_another_tenant"
    with pytest.raises(WebsocketResponseError):
        async with client.websocket("/ws", headers=GLOBEX) as connection:
            await connection.receive()
    assert not seen
    # It is still the one of acme, whatever was refused.
    assert await _status(client, "/read", ACME) == 200
    async with client.websocket("/ws", headers=ACME) as connection:
        await connection.receive()
    assert seen == [{"user": "1"}] * 2


async def test_a_public_view_sees_no_session_of_another_tenant_and_may_begin_its_own(
    serve: Serve,
) -> None:
    app, own = serve()
    seen = _with_sessions(app, own)
    client = app.test_client()
    await client.get("/write?user=1", headers=ACME)
    for path in ("/public/read", "/exempt/read"):
        answer = await client.get(path, headers=GLOBEX)
        assert (answer.status_code, seen.pop()) == (200, {})
        assert "Set-Cookie" not in answer.headers
    assert await _status(client, "/read", ACME) == 200
    assert seen.pop() == {"user": "1"}
    await client.get("/public/write?user=2", headers=GLOBEX)
    assert await _status(client, "/read", GLOBEX) == 200
    assert seen.pop() == {"user": "2"}
    assert await _status(client, "/read", ACME) == 403


async def test_a_session_made_for_nobody_is_seen_by_no_tenant(serve: Serve) -> None:
    app, own = serve()
    seen = _with_sessions(app, own)
    client = app.test_client()
    await client.get("/exempt/write?user=1", headers=APEX)
    await client.get("/exempt/read", headers=APEX)
    assert seen.pop() == {"user": "1"}
    for host, path in ((ACME, "/read"), (OPS, "/operator/read"), (OPS, "/exempt/read")):
        assert await _status(client, path, host) == 200
        assert seen.pop() == {}


async def test_a_session_of_a_tenant_is_not_the_operators_nor_the_other_way(serve: Serve) -> None:
    app, own = serve()
    seen = _with_sessions(app, own)
    client = app.test_client()
    await client.get("/write?user=1", headers=ACME)
    assert await _status(client, "/operator/read", OPS) == 403
    await client.get("/exempt/read", headers=APEX)
    assert seen.pop() == {}
    other = app.test_client()
    await other.get("/operator/write?user=0", headers=OPS)
    assert await _status(other, "/read", ACME) == 403
    assert await _status(other, "/operator/read", OPS) == 200
    assert seen.pop() == {"user": "0"}


@pytest.mark.parametrize("permanent", [False, True])
async def test_a_session_that_was_emptied_leaves_no_cookie(serve: Serve, permanent: bool) -> None:
    app, own = serve()
    _with_sessions(app, own)

    @app.before_request
    async def before() -> None:
        if permanent:
            session.permanent = True

    client = app.test_client()
    await client.get("/write?user=1", headers=ACME)
    answer = await client.get("/log-out", headers=ACME)
    assert "Expires=Thu, 01 Jan 1970" in answer.headers["Set-Cookie"]
    assert await _status(client, "/read", GLOBEX) == 200


async def test_hooks_of_the_application_see_no_session_of_another_tenant(
    tenancy: Tenancy, database: Database
) -> None:
    own = Tenancy(settings=database.settings())
    own._pool, own._registry = tenancy._pool, tenancy._registry
    app = Quart("tested")
    app.secret_key = "s" * 32
    app.config["SESSION_COOKIE_DOMAIN"] = ".example.com"
    seen: list[object] = []

    @app.before_request
    async def before() -> None:
        seen.append(session.get("user"))

    @app.after_request
    async def after(response: Any) -> Any:
        seen.append(session.get("user"))
        if request.path == "/late":
            session["user"] = "late"
        return response

    own.init_app(app)
    _with_sessions(app, own)
    client = app.test_client()
    await client.get("/write?user=1", headers=ACME)
    seen.clear()
    await client.get("/read", headers=GLOBEX)
    assert seen == [None]  # refused before the first, and hidden from the last
    # What a hook writes is of the tenant too.
    client = app.test_client()
    await client.get("/late", headers=ACME)
    assert await _status(client, "/read", GLOBEX) == 403


async def test_the_user_of_a_session_is_a_principal(serve: Serve) -> None:
    app, own = serve(
        principal=lambda _scope: session.get("user"), authorize=lambda who, _tenant: who == "1"
    )
    _with_sessions(app, own)
    client = app.test_client()
    assert await _status(client, "/read", ACME) == 401
    await client.get("/public/write?user=1", headers=ACME)
    assert await _status(client, "/read", ACME) == 200
    assert await _status(client, "/public/read", GLOBEX) == 200
    await client.get("/public/write?user=2", headers=ACME)
    assert await _status(client, "/read", ACME) == 403


async def test_answers_that_used_no_session_do_not_vary_by_it(serve: Serve) -> None:
    app, own = serve()
    _with_sessions(app, own)

    @app.get("/plain")
    async def plain() -> str:
        return "ok"

    client = app.test_client()
    await client.get("/write?user=1", headers=ACME)
    answer = await client.get("/plain", headers=ACME)
    # Some versions of Quart say so of every answer, whether anybody is there or not.
    alone = Quart("alone")
    alone.secret_key = app.secret_key
    alone.add_url_rule("/plain", "plain", plain)
    assert answer.headers.get("Vary") == (await alone.test_client().get("/plain")).headers.get(
        "Vary"
    )


async def test_an_application_may_see_to_its_sessions_itself(serve: Serve) -> None:
    app, own = serve(bind_sessions=False)
    seen = _with_sessions(app, own)
    client = app.test_client()
    await client.get("/write?user=1", headers=ACME)
    await client.get("/read", headers=GLOBEX)
    assert seen == [{"user": "1"}]


async def test_what_one_application_sees_to_itself_another_need_not(serve: Serve) -> None:
    bound, own = serve()
    unbound = Quart("another")
    unbound.secret_key = "s" * 32
    own.init_app(unbound, bind_sessions=False)
    for app, status in ((bound, 403), (unbound, 200)):
        _with_sessions(app, own)
        app.config["SESSION_COOKIE_DOMAIN"] = ".example.com"
        client = app.test_client()
        await client.get("/write?user=1", headers=ACME)
        assert await _status(client, "/read", GLOBEX) == status


async def test_without_a_secret_key_there_is_no_session_and_no_error(serve: Serve) -> None:
    app, own = serve()
    seen = _with_sessions(app, own)
    app.secret_key = None
    assert await _status(app.test_client(), "/read", ACME) == 200
    assert seen == [{}]


# The primary domain


async def test_exempt_views_are_not_redirected(serve: Serve, owner: Any) -> None:
    await owner.execute(
        "INSERT INTO tenancy.domains (name, tenant_id, is_primary, verified_at) "
        "SELECT 'notes.acme.test', id, true, now() FROM tenancy.tenants WHERE slug = 'acme'"
    )
    app, own = serve(redirect_to_primary=True)
    own.registry.forget()
    _marked(app, own)
    client = app.test_client()
    answer = await client.get("/tenants?a=1", headers=ACME)
    assert answer.status_code == 308
    assert answer.headers["Location"] == "//notes.acme.test/tenants?a=1"
    assert await _status(client, "/everyone", ACME) == 200
    assert await _status(client, "/operator", ACME) == 404
    assert await _status(client, "/tenants", {"Host": "notes.acme.test"}) == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/report"), ("GET", "/report/x"), ("OPTIONS", "/report")]
)
async def test_a_hook_of_the_applications_runs_for_nobody_who_may_not(
    serve: Serve, method: str, path: str
) -> None:
    """Quart runs hooks also where no view is found, and for an OPTIONS that it answers itself."""
    ran: list[str] = []
    app, _ = serve(principal=lambda _: "ann", authorize=lambda *_: False)

    @app.before_request
    async def hook() -> None:
        ran.append(request.path)

    @app.get("/report")
    async def report() -> str:
        return "report"

    answer = await getattr(app.test_client(), method.lower())(path, headers=ACME)
    assert answer.status_code == 403
    assert ran == []
