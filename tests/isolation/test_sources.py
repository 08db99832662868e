"""G2 for the other sources of a tenant: paths, headers, tokens, chains; and the primary domain."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwk, jwt
from support.asgi import Answer, call
from support.databases import Database

from tenancy import Tenancy, by_domain, by_header, by_host, by_path, by_subdomain, by_token, chain
from tenancy.resolvers import KeyKind, Resolver, signed
from tenancy.web.asgi import Front

SECRET = "s" * 32
APEX = (b"host", b"example.com")
ACME = (b"host", b"acme.example.com")
GLOBEX = (b"host", b"globex.example.com")

Make = Callable[..., Front]


async def _whose(scope: Any, _receive: Any, send: Any, tenancy: Tenancy) -> None:
    body = {"slug": tenancy.tenant.slug, "root": scope["root_path"], "path": scope["path"]}
    body["principal"] = tenancy.principal
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


@pytest.fixture
async def make(tenancy: Tenancy, database: Database) -> Make:
    """Make a front with a resolver of the test's own, on one started pool."""

    def made(resolver: Resolver, **options: Any) -> Front:
        known = ("principal", "authorize")
        own = Tenancy(
            resolver,
            settings=database.settings(**{k: v for k, v in options.items() if k not in known}),
            **{k: v for k, v in options.items() if k in known},
        )
        own._pool, own._registry = tenancy._pool, tenancy._registry
        own.registry.forget()  # what the test has changed a moment ago
        return own.middleware(lambda scope, receive, send: _whose(scope, receive, send, own))

    return made


def _slug(answer: Answer) -> object:
    return json.loads(answer.body)["slug"] if answer.status == 200 else answer.status


def _code(answer: Answer) -> tuple[int, object]:
    return answer.status, json.loads(answer.body)["code"]


def _bearer(**claims: Any) -> tuple[bytes, bytes]:
    body = {"aud": "notes", "iss": "us", "exp": time.time() + 60, **claims}
    token = jwt.encode({"alg": "HS256"}, body, jwk.import_key(SECRET, "oct"))
    return b"authorization", f"Bearer {token}".encode()


def _by_token(**options: Any) -> Resolver:
    return by_token(key=SECRET, algorithm="HS256", audience="notes", issuer="us", **options)


async def test_a_path_leads_to_its_tenant_and_is_mounted_there(make: Make) -> None:
    front = make(by_path())
    for path in ("/t/acme", "/t/acme/"):
        body = json.loads((await call(front, [APEX], path)).body)
        assert body["slug"] == "acme"
        assert (body["root"], body["path"]) == ("/t/acme", "/t/acme/")
    assert _slug(await call(front, [APEX], "/t/globex/acme")) == "globex"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/t/nobody/x", (404, "unknown_tenant")),
        ("/t/www/x", (404, "unknown_tenant")),
        ("/t/acme%2f/x", (404, "unknown_tenant")),
        ("/t/acme/../globex", (400, "malformed_target")),
        ("/", (400, "no_tenant_named")),
    ],
)
async def test_a_path_of_nobody_has_its_answer(
    make: Make, path: str, answer: tuple[int, str]
) -> None:
    assert _code(await call(make(by_path()), [APEX], path)) == answer


@pytest.mark.parametrize("host", [[], [(b"host", b"a..b")], [APEX, APEX], [(b"host", b"")]])
async def test_a_malformed_host_is_refused_by_whatever_a_tenant_is_found(
    make: Make, host: list[tuple[bytes, bytes]]
) -> None:
    for resolver in (by_path(), by_header("X-Tenant", trusted=["127.0.0.1"]), _by_token()):
        headers = [*host, (b"x-tenant", b"acme"), _bearer(tenant="acme")]
        assert _code(await call(make(resolver), headers, "/t/acme/")) == (400, "malformed_host")


async def test_a_header_counts_from_a_trusted_proxy_alone(make: Make) -> None:
    header = (b"x-tenant", b"globex")
    trusting = make(chain(by_header("X-Tenant", trusted=["127.0.0.0/8"]), by_host("example.com")))
    assert _slug(await call(trusting, [(b"host", b"api.example.com"), header])) == "globex"
    assert _code(await call(trusting, [ACME, header])) == (400, "conflicting_tenants")
    assert _slug(await call(trusting, [GLOBEX, header])) == "globex"
    strict = make(chain(by_header("X-Tenant", trusted=["10.0.0.0/8"]), by_host("example.com")))
    assert _slug(await call(strict, [ACME, header])) == "acme"
    assert _slug(await call(strict, [ACME, header, header])) == "acme"


async def test_a_signed_header_counts_from_anybody_and_a_forged_one_from_nobody(make: Make) -> None:
    front = make(chain(by_header("X-Tenant", secret=SECRET), by_host("example.com")))
    good = signed("X-Tenant", "globex", SECRET)
    header = (b"x-tenant", good.encode())
    assert _slug(await call(front, [(b"host", b"www.example.com"), header])) == "globex"
    forged = (b"x-tenant", good.replace("globex", "acme").encode())
    assert _code(await call(front, [ACME, forged])) == (400, "untrusted_tenant")


async def test_a_token_leads_to_its_tenant_and_nowhere_else(make: Make) -> None:
    front = make(chain(_by_token(), by_subdomain("example.com")))
    api = (b"host", b"api.example.com")
    answer = await call(front, [api, _bearer(tenant="acme", sub="ann")])
    assert json.loads(answer.body)["principal"]["sub"] == "ann"
    assert _slug(answer) == "acme"
    assert _slug(await call(front, [ACME, _bearer(tenant="acme")])) == "acme"
    assert _slug(await call(front, [ACME])) == "acme"
    for headers, answer_of in (
        ([GLOBEX, _bearer(tenant="acme")], (400, "conflicting_tenants")),
        ([(b"host", b"nobody.example.com"), _bearer(tenant="acme")], (400, "conflicting_tenants")),
        ([ACME, _bearer(tenant="nobody")], (400, "conflicting_tenants")),
        ([api, _bearer(tenant="nobody")], (404, "unknown_tenant")),
        ([ACME, (b"authorization", b"Bearer forged")], (401, "invalid_token")),
        ([ACME, _bearer(tenant="acme", exp=1)], (401, "expired_token")),
        ([api], (401, "missing_token")),
        ([api, (b"authorization", b"Basic YTpi")], (401, "missing_token")),
        ([ACME, _bearer(tenant="acme"), _bearer(tenant="acme")], (400, "malformed_tenant")),
    ):
        refused = await call(front, headers)
        assert _code(refused) == answer_of
        assert (b"www-authenticate" in refused.headers) is (refused.status == 401)


async def test_a_slug_a_domain_and_an_id_of_one_tenant_agree(
    make: Make, owner: Any, tenancy: Tenancy
) -> None:
    await _domains(owner, "notes.acme.test")
    acme, globex = await tenancy.find("acme"), await tenancy.find("globex")
    by_id = _by_token(claim="tid", kind=KeyKind.ID)
    front = make(chain(by_id, by_header("X-Tenant", trusted=["127.0.0.1"]), by_domain()))
    host, header = (b"host", b"notes.acme.test"), (b"x-tenant", b"acme")
    assert _slug(await call(front, [host, header, _bearer(tid=str(acme.id).upper())])) == "acme"
    for headers in (
        [host, header, _bearer(tid=str(globex.id))],
        [host, (b"x-tenant", b"globex"), _bearer(tid=str(acme.id))],
        [(b"host", b"other.test"), header, _bearer(tid=str(acme.id))],
    ):
        assert _code(await call(front, headers)) == (400, "conflicting_tenants")


async def test_a_suspended_tenant_is_so_by_every_source(make: Make, owner: Any) -> None:
    await owner.execute("UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'acme'")
    front = make(chain(by_path(), by_header("X-Tenant", trusted=["127.0.0.1"])))
    for headers, path in (([APEX], "/t/acme/"), ([APEX, (b"x-tenant", b"acme")], "/")):
        assert _code(await call(front, headers, path)) == (403, "tenant_suspended")


async def test_a_resolver_of_ones_own_is_a_callable(make: Make) -> None:
    def by_port(scope: Any) -> Any:
        return by_subdomain("example.com")({**scope, "headers": [ACME]})

    assert _slug(await call(make(by_port), [APEX])) == "acme"
    assert _code(await call(make(lambda _scope: None), [APEX])) == (404, "unknown_tenant")


@pytest.mark.parametrize(
    ("principal", "allowed", "answer"),
    [("ann", True, 200), ("ann", False, 403), ("ann", "yes", 403), ("ann", None, 403),
     (None, True, 401), (0, True, 200)],
)  # fmt: skip
async def test_any_asgi_application_asks_who_may_use_the_tenant(
    make: Make, principal: Any, allowed: Any, answer: int
) -> None:
    async def authorize(who: Any, tenant: Any) -> Any:
        assert (who, tenant.slug) == (principal, "acme")
        return allowed

    plain = make(by_host("example.com"), principal=lambda _: principal, authorize=authorize)
    assert (await call(plain, [ACME])).status == answer


@pytest.mark.parametrize("allowed", ["ann", "bob"])
async def test_authorize_may_ask_the_tenants_own_tables(
    tenancy: Tenancy, database: Database, owner: Any, allowed: str
) -> None:
    await owner.execute("INSERT INTO notes (body) VALUES ($1)", allowed)

    async def authorize(who: Any, _tenant: Any) -> bool:
        async with own.transaction(readonly=True) as conn:
            return bool(await conn.fetchval("SELECT true FROM notes WHERE body = $1", who))

    own = Tenancy(settings=database.settings(), principal=lambda _: "ann", authorize=authorize)
    own._pool, own._registry = tenancy._pool, tenancy._registry

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with own.transaction(readonly=True):
            await _whose(scope, receive, send, own)

    assert (await call(own.middleware(app), [ACME])).status == (200 if allowed == "ann" else 403)


async def test_the_operators_host_is_no_tenants(make: Make, database: Database) -> None:
    front = make(chain(by_host("example.com"), _by_token()), operator_hosts=("acme.example.com",))
    for headers in ([ACME], [ACME, _bearer(tenant="globex")], [(b"host", b"ACME.example.com.:80")]):
        assert _code(await call(front, headers)) == (421, "misdirected_request")
    assert _slug(await call(front, [GLOBEX])) == "globex"

    async def operators(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    own = Tenancy(settings=database.settings(operator_hosts=("ops.example.com",)))
    both = own.middleware(front, operator=operators)
    assert (await call(both, [(b"host", b"ops.example.com")])).status == 204


# The primary domain


async def _domains(owner: Any, *names: str, primary: str = "", verified: bool = True) -> None:
    await owner.execute(
        "INSERT INTO tenancy.domains (name, tenant_id, is_primary, verified_at) "
        "SELECT name, id, name = $2, CASE WHEN $3 THEN now() END "
        "FROM tenancy.tenants, unnest($1::text[]) AS name WHERE slug = 'acme'",
        names,
        primary,
        verified,
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("host", "path", "location"),
    [
        ("acme.example.com", "/notes", "//notes.acme.test/notes"),
        ("ACME.example.com.:8000", "/a%2Fb", "//notes.acme.test:8000/a%2Fb"),
        ("old.acme.test", "/", "//notes.acme.test/"),
        ("old.acme.test", "//evil.example/x", "//notes.acme.test//evil.example/x"),
        ("old.acme.test", "/\\evil.example", "//notes.acme.test/%5Cevil.example"),
        ("old.acme.test", "/é\r\nx: y", "//notes.acme.test/%C3%A9%0D%0Ax:%20y"),
        ("old.acme.test", "http://evil.example/x", "//notes.acme.test/"),
    ],
)
async def test_other_hosts_of_a_tenant_lead_to_its_primary_domain(  # noqa: PLR0913, PLR0917
    make: Make, owner: Any, host: str, path: str, location: str, method: str
) -> None:
    await _domains(owner, "notes.acme.test", "old.acme.test", primary="notes.acme.test")
    front = make(by_host("example.com"), redirect_to_primary=True)
    answer = await call(front, [(b"host", host.encode())], path, method)
    assert _code(answer) == (308, "moved_to_primary_domain")
    assert answer.headers[b"location"].decode() == location
    assert answer.headers[b"cache-control"] == b"no-store"
    # And there it ends.
    there = (b"host", location.removeprefix("//").partition("/")[0].encode())
    assert (await call(front, [there], "/notes")).status == 200


async def test_a_query_is_kept_and_forged_headers_are_not(make: Make, owner: Any) -> None:
    await _domains(owner, "notes.acme.test", primary="notes.acme.test")
    front = make(by_host("example.com"), redirect_to_primary=True)

    async def with_query(scope: Any, receive: Any, send: Any) -> None:
        await front({**scope, "query_string": b"a=1&b=%2F?\r\n"}, receive, send)

    headers = [ACME, (b"x-forwarded-host", b"evil.test"), (b"x-forwarded-proto", b"gopher")]
    answer = await call(with_query, headers, "/x")
    assert answer.headers[b"location"] == b"//notes.acme.test/x?a=1&b=%2F?%0D%0A"


async def test_nothing_is_redirected_unless_asked_and_verified(make: Make, owner: Any) -> None:
    await _domains(owner, "notes.acme.test", primary="notes.acme.test", verified=False)
    asked = make(by_host("example.com"), redirect_to_primary=True)
    assert _slug(await call(asked, [ACME])) == "acme"
    assert _slug(await call(asked, [GLOBEX])) == "globex"
    await owner.execute("UPDATE tenancy.domains SET verified_at = now()")
    assert _slug(await call(make(by_host("example.com")), [ACME])) == "acme"


async def test_what_did_not_come_by_the_host_is_served_where_it_is(make: Make, owner: Any) -> None:
    await _domains(owner, "notes.acme.test", primary="notes.acme.test")
    front = make(chain(by_path(), by_host("example.com")), redirect_to_primary=True)
    assert (
        _slug(await call(make(by_path(), redirect_to_primary=True), [APEX], "/t/acme/")) == "acme"
    )
    assert (await call(front, [ACME], "/x")).status == 308

    async def as_websocket(scope: Any, receive: Any, send: Any) -> None:
        await front({**scope, "type": "websocket"}, receive, send)

    assert _slug(await call(as_websocket, [ACME])) == "acme"
