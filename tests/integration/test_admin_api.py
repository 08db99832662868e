"""The operator's HTTP API: who may use it, what it does, and that no update is lost."""

import asyncio
import json
import re
import shutil
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk, jwt
from quart import Quart
from support import asgi
from support.databases import SQL, Database
from support.panels import HOST, Panel, panel, token

from tenancy import Settings, Tenancy, provision
from tenancy import admin as admin_package
from tenancy.admin import create_admin_app, marks, models
from tenancy.errors import SettingsError
from tenancy.provision import Event, Hooks, Step
from tenancy.provision.audit import Wanted
from tenancy.provision.tokens import Scope

GUIDE = (Path(admin_package.__file__).parent / "README.md").read_text()
BODIES: dict[str, Any] = {"POST": {}, "PATCH": {"state": "active"}}
OPEN = {"/openapi.json"}


def _routes(app: Quart) -> list[tuple[str, str, Scope | None]]:
    """Method, address and scope of each view."""
    found = []
    for rule in app.url_map.iter_rules():
        asked = marks.of(app.view_functions[rule.endpoint])
        assert asked is not None, rule
        path = re.sub(r"<[^>]*?slug>", "acme", rule.rule)
        path = re.sub(r"<[^>]*?name>", "notes.acme.example", path)
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        found += [(method, path, asked.scope) for method in methods]
    return sorted(found, key=str)


# Who may use it


async def test_nothing_but_the_description_is_open(database: Database) -> None:
    async with panel(database.settings()) as client:
        stranger = Panel(client.app, "")
        for number, (method, path, scope) in enumerate(_routes(client.app)):
            stranger.address = f"10.0.0.{number}"
            answer = await stranger(method, path, BODIES.get(method), If_Match="*")
            assert (answer.status == 401) is (path not in OPEN), (method, path, answer)
            assert (scope is None) is (path in OPEN)
            if path not in OPEN:
                assert answer.headers["www-authenticate"] == "Bearer"
        stranger.address = "10.0.1.1"
        for path in ("/", "/v1", "/v1/nothing", "/static/x", "/docs"):
            assert (await stranger("GET", path)).status == 401
        assert (await stranger("OPTIONS", "/v1/tenants")).status == 401


async def test_a_token_does_what_its_scopes_say_and_no_more(database: Database) -> None:
    settings = database.settings(admin_requests_per_second=1000)
    async with panel(settings) as client:
        for scope in Scope:
            one = Panel(client.app, await token(settings, [scope], name=f"only-{scope}"))
            for method, path, needed in _routes(client.app):
                answer = await one(method, path, BODIES.get(method), If_Match='"of another time"')
                refused = needed not in {scope, None}
                assert (answer.status == 403) is refused, (scope, method, path, answer)
                if refused:
                    assert answer.code == "insufficient_scope"
                    assert f'scope="{needed}"' in answer.headers["www-authenticate"]


async def test_wrong_revoked_and_expired_tokens_are_answered_alike(database: Database) -> None:
    async with panel(database.settings()) as client:
        async with provision.administrator(database.settings()) as admin:
            made, expired = await admin.create_token("old", [Scope.READ])
            await admin.connection.execute(
                "UPDATE tenancy.tokens SET expires_at = now() WHERE id = $1", made.id
            )
        for wrong in ("x", client.token[:-1] + "z", client.token + "0", expired):
            answer = await Panel(client.app, wrong, wrong[:9])("GET", "/v1/tenants")
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert (await client("GET", "/v1/tenants")).status == 200
        async with provision.administrator(database.settings()) as admin:
            await admin.revoke_token("panel")
        assert (await client("GET", "/v1/tenants")).code == "invalid_token"


async def test_no_tenants_host_reaches_it(database: Database) -> None:
    async with panel(database.settings(operator_hosts=("ops.example.com",))) as client:
        for host in ("127.0.0.1", "127.0.0.1:8001", "[::1]:8001", "localhost", "OPS.example.com:1"):
            assert (await client("GET", "/v1/tenants", Host=host)).status == 200, host
        for host in ("acme.example.com", "example.com", "notes.acme.example", "ops.example.org"):
            assert (await client("GET", "/v1/tenants", Host=host)).status == 421, host
        assert (await client("GET", "/v1/tenants", Host="a..b")).status == 400
        for host in ("acme.example.com", "a..b"):
            assert (await client("GET", "/readyz", Host=host)).status == 200


async def test_too_many_requests_are_told_when_to_come_back(database: Database) -> None:
    async with panel(database.settings(admin_requests_per_second=0.1)) as client:
        statuses = [(await client("GET", "/v1/tenants")).status for _ in range(10)]
        assert 429 in statuses
        assert statuses[0] == 200
        answer = await client("GET", "/v1/tenants")
        if answer.status == 429:
            assert answer.code == "too_many_requests"
            assert 1 <= int(answer.headers["retry-after"]) <= 10
        async with provision.administrator(database.settings()) as admin:
            _, other = await admin.create_token("other", [Scope.READ])
        assert (await Panel(client.app, other, "10.9.9.9")("GET", "/v1/tenants")).status == 200


async def test_wrong_tokens_of_an_address_are_looked_up_ever_less(database: Database) -> None:
    async with panel(database.settings(admin_requests_per_second=1)) as client:
        guesser = Panel(client.app, "tnc_guessed", "10.6.6.6")
        statuses = [(await guesser("GET", "/v1/tenants")).status for _ in range(20)]
        assert statuses.count(401) < 10
        assert (await client("GET", "/v1/tenants")).status == 200


async def test_json_web_tokens_are_good_where_their_key_is_set(
    database: Database, tmp_path: Path
) -> None:
    key = jwk.generate_key("EC", "P-256")
    (tmp_path / "key.pem").write_bytes(key.as_pem(private=False))
    settings = database.settings(
        admin_jwt_key_file=tmp_path / "key.pem",
        admin_jwt_algorithm="ES256",
        admin_jwt_audience="tenancy",
        admin_jwt_issuer="https://id.example",
    )

    def signed(by: Any = key, **changes: object) -> str:
        claims = {"sub": "anna", "iss": "https://id.example", "aud": "tenancy"}
        claims |= {"exp": datetime.now(UTC) + timedelta(minutes=5), "scope": "read other"}  # type: ignore[dict-item]
        return jwt.encode({"alg": "ES256"}, {**claims, **changes}, by)

    async with panel(settings) as client:
        assert (await client("GET", "/v1/tenants")).status == 200  # a token of the catalog
        anna = Panel(client.app, signed())
        assert (await anna("GET", "/v1/tenants")).status == 200
        assert (await anna("POST", "/v1/tenants/acme/suspend", {})).code == "insufficient_scope"
        anna.token = signed(scope="write")
        assert (await anna("POST", "/v1/tenants/acme/suspend", {})).status == 200
        async with provision.administrator(settings) as admin:
            (entry,) = await admin.entries(Wanted(actor="jwt:anna"))
            assert entry.source == anna.address
        wrong = [signed(sub=""), signed(sub=5), signed(aud="x"), signed(sub="a\0"), signed(scope=5)]
        stranger = signed(jwk.generate_key("EC", "P-256"))
        for number, each in enumerate([*wrong, stranger, "x.y.z"]):
            answer = await Panel(client.app, each, f"10.0.0.{number}")("GET", "/v1/tenants")
            assert (answer.status, answer.code) == (401, "invalid_token"), each
        renewed = jwk.generate_key("EC", "P-256")
        (tmp_path / "key.pem").write_bytes(renewed.as_pem(private=False))
        anna.token = signed(renewed)
        assert (await anna("GET", "/v1/tenants")).status == 200
        (tmp_path / "key.pem").write_text("nonsense")
        assert (await anna("GET", "/v1/tenants")).status == 200
    with pytest.raises(SettingsError, match="TENANCY_ADMIN_JWT_KEY_FILE"):
        create_admin_app(settings)
    with pytest.raises(ValueError, match="TENANCY_ADMIN_JWT_ALGORITHM"):
        database.settings(admin_jwt_key_file=tmp_path / "key.pem")


# What it does


async def test_a_tenant_is_made_shown_changed_deleted_and_restored(database: Database) -> None:
    async with panel(database.settings()) as client:
        made = await client(
            "POST", "/v1/tenants", {"slug": "initech", "domains": ["Notes.Initech.Example"]}
        )
        assert made.status == 201
        assert made.headers["location"] == "/v1/tenants/initech"
        assert made.body["domains"] == ["notes.initech.example"]
        shown = await client("GET", "/v1/tenants/initech")
        assert (shown.body, shown.headers["etag"]) == (made.body, made.headers["etag"])
        known = await client("GET", "/v1/tenants/initech", If_None_Match=shown.headers["etag"])
        assert (known.status, known.body) == (304, b"")
        path = "/v1/tenants/initech"
        for change, member, value in (
            ({"max_connections": 3}, "max_connections", 3),
            ({"max_connections": None}, "max_connections", None),
            ({"state": "read_only"}, "state", "read_only"),
            ({"state": "suspended", "reason": "unpaid"}, "state", "suspended"),
            ({"state": "active"}, "state", "active"),
            ({"slug": "initrode"}, "slug", "initrode"),
        ):
            etag = (await client("GET", path)).headers["etag"]
            changed = await client("PATCH", path, change, If_Match=etag)
            assert (changed.status, changed.body[member]) == (200, value), changed
            path = f"/v1/tenants/{changed.body['slug']}"
            assert changed.headers["etag"] == (await client("GET", path)).headers["etag"] != etag
        assert (await client("GET", "/v1/tenants/initech")).status == 404
        deleted = await client("DELETE", f"{path}?grace_days=7&reason=left", If_Match="*")
        assert deleted.body["state"] == "deleting"
        assert deleted.body["purge_at"] is not None
        for verb, state in (
            ("restore", "active"),
            ("suspend", "suspended"),
            ("read-only", "read_only"),
            ("resume", "active"),
        ):
            answer = await client("POST", f"{path}/{verb}", {"reason": "a reason"})
            assert (answer.status, answer.body["state"]) == (200, state)
        history = await client("GET", f"{path}/history?limit=200")
        actions = [entry["action"] for entry in history.body["entries"]]
        assert actions[0] == "resume"
        assert actions[-1] == "create"
        assert {entry["actor"] for entry in history.body["entries"]} == {"token:panel"}
        assert {entry["source"] for entry in history.body["entries"]} == {client.address}


async def test_a_tenant_is_made_once_for_a_key(database: Database) -> None:
    async with panel(database.settings()) as client:
        answers = [
            await client("POST", "/v1/tenants", {"slug": "initech"}, Idempotency_Key="order-1")
            for _ in range(3)
        ]
        assert {answer.status for answer in answers} == {201}
        assert len({answer.body["id"] for answer in answers}) == 1
        other = await client("POST", "/v1/tenants", {"slug": "hooli"}, Idempotency_Key="order-1")
        assert (other.status, other.code) == (409, "idempotency_key_used")
        assert (await client("POST", "/v1/tenants", {"slug": "initech"})).code == "slug_taken"


async def test_all_tenants_are_found_page_by_page(database: Database) -> None:
    async with panel(database.settings(admin_requests_per_second=1000)) as client:
        for number in range(5):
            await client("POST", "/v1/tenants", {"slug": f"many-{number}"})
        await client("POST", "/v1/tenants/many-3/suspend", {})
        seen: list[str] = []
        after = ""
        while True:
            page = (await client("GET", f"/v1/tenants?limit=2&after={after}")).body
            seen += [each["slug"] for each in page["tenants"]]
            if page["next"] is None:
                break
            after = page["next"]
        assert seen == ["acme", "globex", *(f"many-{number}" for number in range(5))]

        async def slugs(query: str) -> list[str]:
            found = await client("GET", f"/v1/tenants?{query}")
            assert found.status == 200
            return [each["slug"] for each in found.body["tenants"]]

        assert await slugs("search=any-&state=active&state=suspended&limit=200") == seen[2:]
        assert await slugs("state=suspended") == ["many-3"]
        for wrong in ("limit=0", "limit=201", "state=none", "stat=active", "search=%00", "limit=x"):
            assert (await client("GET", f"/v1/tenants?{wrong}")).status == 422, wrong


async def test_domains_come_and_go(database: Database) -> None:
    async with panel(database.settings()) as client:
        path = "/v1/tenants/acme/domains"
        added = await client("POST", path, {"name": "Notes.Acme.Example"})
        assert (added.status, added.body["verified_at"]) == (201, None)
        assert added.body["record_name"] == "_tenancy-challenge.notes.acme.example"
        vouched = await client("POST", path, {"name": "www.acme.example", "verified": True})
        assert vouched.body["verified_at"] is not None
        listed = (await client("GET", path)).body["domains"]
        assert [each["name"] for each in listed] == ["www.acme.example", "notes.acme.example"]
        early = await client("POST", f"{path}/notes.acme.example/primary")
        assert (early.status, early.code) == (409, "domain_unverified")
        primary = await client("POST", f"{path}/www.acme.example/primary")
        assert primary.body["domains"] == ["www.acme.example"]
        assert (await client("DELETE", f"{path}/notes.acme.example")).status == 204
        assert (await client("DELETE", f"{path}/notes.acme.example")).code == "unknown_domain"
        assert (await client("POST", path, {"name": "acme.example.com"})).code == "invalid_domain"


async def test_migrations_and_the_audit_are_told(database: Database) -> None:
    async with panel(database.settings()) as client:
        told = (await client("GET", "/v1/migrations")).body
        assert (told["behind"], told["ahead"], told["refused"], told["schemas"]) == (0, 0, 0, [])
        assert {"stage": "tenant", "version": "0001", "schemas": 2} in told["versions"]
        assert (await client("GET", "/v1/migrations?tenant=acme")).status == 200
        assert (await client("GET", "/v1/migrations?tenant=nobody")).status == 404
        await client("POST", "/v1/tenants/acme/suspend", {"reason": "unpaid"})
        await client("POST", "/v1/tenants/globex/suspend", {})
        found = (await client("GET", "/v1/audit?action=suspend&limit=1")).body
        assert [entry["slug"] for entry in found["entries"]] == ["globex"]
        rest = (await client("GET", f"/v1/audit?action=suspend&before={found['next']}")).body
        assert [(each["slug"], each["reason"]) for each in rest["entries"]] == [("acme", "unpaid")]
        assert rest["next"] is None
        for query in ("since=2001-01-01T00:00:00Z&outcome=done", "actor=token:panel&slug=acme"):
            assert (await client("GET", f"/v1/audit?{query}")).body["entries"]
        for wrong in ("since=0001-01-01T00:00:00%2B14:00", "since=now", "before=0", "outcome=x"):
            assert (await client("GET", f"/v1/audit?{wrong}")).status == 422, wrong


async def test_schemas_made_ahead_are_made_again_after_the_answer(database: Database) -> None:
    settings = database.settings(ready_schemas=2)
    async with provision.administrator(settings) as admin:
        await admin.refill()
        async with panel(settings) as client:
            for slug in ("initech", "hooli", "globotech"):
                assert (await client("POST", "/v1/tenants", {"slug": slug})).status == 201
            count = "SELECT count(*) FROM tenancy.ready_schemas"
            while await admin.connection.fetchval(count) < 2:  # noqa: ASYNC110 - a test waits
                await asyncio.sleep(0.02)
        made = await admin.entries(Wanted(action="create", actor="token:panel"))
        assert sum(entry.detail["made_ahead"] for entry in made) >= 2


async def test_a_database_behind_its_files_makes_no_tenant(
    database: Database, tmp_path: Path
) -> None:
    shutil.copytree(SQL / "shared", tmp_path / "shared")
    shutil.copytree(SQL / "tenant", tmp_path / "tenant")
    (tmp_path / "shared" / "0002_more.sql").write_text("CREATE TABLE more (id int);\n")
    async with panel(database.settings(sql_dir=tmp_path)) as client:
        answer = await client("POST", "/v1/tenants", {"slug": "initech"})
        assert (answer.status, answer.code) == (503, "migration_refused")
        told = (await client("GET", "/v1/migrations")).body
        assert (told["behind"], [each["pending"] for each in told["schemas"]]) == (1, [["0002"]])


# Lost updates, and refusals


async def test_of_two_changes_of_one_etag_one_is_made(database: Database) -> None:
    async with panel(database.settings()) as client:
        path = "/v1/tenants/acme"
        for _ in range(5):
            etag = (await client("GET", path)).headers["etag"]
            number = datetime.now(UTC).microsecond % 900
            answers = await asyncio.gather(
                *(
                    client("PATCH", path, {"max_connections": number + n}, If_Match=etag)
                    for n in (1, 2, 3)
                )
            )
            assert sorted(answer.status for answer in answers) == [200, 412, 412]
            assert {a.code for a in answers if a.status == 412} == {"precondition_failed"}


async def test_every_change_heeds_if_match(database: Database) -> None:
    domain = "/domains/www.acme.example"
    changes: list[tuple[str, str, object]] = [
        ("PATCH", "", {"max_connections": 7}),
        ("PATCH", "", {"state": "read_only"}),
        *(("POST", f"/{verb}", {}) for verb in ("suspend", "read-only", "resume", "restore")),
        ("POST", "/domains", {"name": "new.acme.example"}),
        ("POST", f"{domain}/verify", None),
        ("POST", f"{domain}/primary", None),
        ("DELETE", domain, None),
        ("PATCH", "", {"slug": "initech"}),
        ("DELETE", "", None),
    ]
    async with panel(database.settings(admin_requests_per_second=1000)) as client:
        root = "/v1/tenants/acme"
        await client("POST", f"{root}/domains", {"name": "www.acme.example", "verified": True})
        for number, (method, path, body) in enumerate(changes):
            stale = (await client("GET", root)).headers["etag"]
            touch = {"statement_timeout_seconds": number + 1}
            before = (await client("PATCH", root, touch, If_Match="*")).body
            if not path:
                assert (await client(method, root, body)).code == "precondition_required"
            for tags in (stale, "nonsense", f"W/{stale}", '"a", "b"'):
                answer = await client(method, root + path, body, If_Match=tags)
                assert (answer.status, answer.code) == (412, "precondition_failed"), (path, tags)
            assert (await client("GET", root)).body == before
            fresh = (await client("GET", root)).headers["etag"]
            done = await client(method, root + path, body, If_Match=f'"x", {fresh}')
            assert done.status < 300, (method, path, done)
            if body == {"slug": "initech"}:
                root = "/v1/tenants/initech"


async def test_what_cannot_be_is_refused_and_changes_nothing(database: Database) -> None:
    wrong: list[tuple[str, Any, int]] = [
        *(("", {"slug": slug}, 422) for slug in ("Ä", "www", "a\0", "\ud800", 5)),
        ("", {"slug": "initech", "more": 1}, 422),
        ("", {"slug": "initech", "domains": ["x"]}, 422),
        ("", {"slug": "initech", "domains": ["acme.example.com"]}, 422),
        ("", [], 422),
        ("", {"slug": "acme"}, 409),
        *((f"/{slug}/suspend", {}, 404) for slug in ("nobody", "NO", "a%00", "acme-", "a" * 49)),
        ("/acme/suspend", {"reason": "\0"}, 422),
        ("/acme/suspend", {"reason": "x" * 1001}, 422),
        ("/acme/domains", {"name": "\u2028.example"}, 422),
        ("/acme/domains", {"name": "a.example", "verified": "perhaps"}, 422),
        ("/acme/domains/%00/verify", None, 422),
        ("/acme/domains/%ff.example/verify", None, 422),
        ("/acme/domains/a.example/verify", None, 404),
    ]
    async with panel(database.settings(admin_requests_per_second=1000)) as client:
        before = (await client("GET", "/v1/tenants")).body
        for path, body, status in wrong:
            answer = await client("POST", f"/v1/tenants{path}", body)
            assert answer.status == status, (path, body, answer)
            assert answer.code
        assert (await client("GET", "/v1/tenants")).body == before


async def test_a_database_that_is_away_is_answered_503(database: Database) -> None:
    settings = database.settings(admin_database_url="postgresql://x@127.0.0.1:1/x")
    app = create_admin_app(settings)
    async with app.test_app():
        stranger = Panel(app, "tnc_x")
        answer = await stranger("GET", "/v1/tenants")
        assert (answer.status, answer.code) == (503, "database_unavailable")
        assert (await stranger("GET", "/readyz")).status == 503
        assert (await stranger("GET", "/healthz")).status == 200


async def test_a_change_cancelled_at_shutdown_is_not_said_to_be_unsaved(database: Database) -> None:
    hooks, begun = Hooks(), asyncio.Event()

    @hooks.after(Step.SUSPEND)
    async def wait(_: Event) -> None:
        begun.set()
        await asyncio.Event().wait()

    settings = database.settings()
    app = create_admin_app(settings, hooks=hooks)
    headers = [
        (b"host", HOST.encode()),
        (b"authorization", f"Bearer {await token(settings)}".encode()),
        (b"content-type", b"application/json"),
    ]
    sent: list[Any] = []
    async with app.test_app():
        task = asyncio.create_task(
            asgi.call(app, headers, "/v1/tenants/acme/suspend", "POST", sent, body=b"{}")
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sent[0]["status"] == 503
        assert json.loads(sent[1]["body"])["code"] == "commit_unknown"
        async with provision.administrator(settings) as admin:
            assert (await admin.show("acme")).tenant.state == "active"
            (entry,) = await admin.entries(Wanted(action="suspend"))
            assert entry.outcome == "failed"


# As part of an application, and what is said of it


async def test_on_the_operators_host_it_serves_beside_the_tenants(database: Database) -> None:
    settings = database.settings(operator_hosts=("ops.example.com",))
    text = await token(settings)
    app = _tenants_app(settings)
    async with app.test_app():
        operator = Panel(app, text)
        at_home = await operator("GET", "/v1/tenants", Host="ops.example.com")
        assert [each["slug"] for each in at_home.body["tenants"]] == ["acme", "globex"]
        assert (await operator("GET", "/who", Host="acme.example.com")).body == b"acme"
        for host in ("acme.example.com", "nobody.example.com"):
            assert (await operator("GET", "/v1/tenants", Host=host)).status == 404
        assert (await operator("GET", "/v1/tenants", Host="ops.example.org")).status in {404, 421}
        assert (await Panel(app, "")("GET", "/v1/tenants", Host="ops.example.com")).status == 401
        suspended = await operator("POST", "/v1/tenants/acme/suspend", {}, Host="ops.example.com")
        assert suspended.status == 200


def _tenants_app(settings: Settings) -> Quart:
    app = Quart(__name__)
    tenancy = Tenancy(settings=settings)
    tenancy.init_app(app, operator=create_admin_app(settings))  # type: ignore[arg-type]

    @app.get("/who")
    async def who() -> str:
        return tenancy.tenant.slug

    return app


async def test_a_view_without_a_mark_is_used_by_nobody(database: Database) -> None:
    async with panel(database.settings()) as client:

        @client.app.get("/v1/unmarked")
        async def unmarked() -> str:
            return "secret"

        assert (await client("GET", "/v1/unmarked")).code == "insufficient_scope"


async def test_the_models_have_what_the_values_have(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        domain = await admin.add_domain("acme", "notes.acme.example")
        (entry, *_) = await admin.entries()
        profile = await admin.show("acme")
    for model, members in (
        (models.Tenant, profile.as_json()),
        (models.Domain, domain.as_json()),
        (models.Entry, entry.as_json()),
    ):
        assert [field.name for field in fields(model)] == list(members)


async def test_the_guide_and_the_description_name_every_address_and_scope(
    database: Database,
) -> None:
    async with panel(database.settings()) as client:
        rows = re.findall(r"^\| ([A-Z]+) \| `(/v1[^`]*)` \| `(\w+)` \|", GUIDE, re.MULTILINE)
        documented = {
            (method, path.replace("<slug>", "acme").replace("<name>", "notes.acme.example"), scope)
            for method, path, scope in rows
        }
        served = {(m, path, str(scope)) for m, path, scope in _routes(client.app) if scope}
        assert documented == served
        described = (await client("GET", "/openapi.json", Host=HOST)).body
        assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        operations = {
            (method.upper(), path): operation
            for path, methods in described["paths"].items()
            for method, operation in methods.items()
        }
        assert len(operations) == len(served)
        for (method, path), operation in operations.items():
            assert "Needs the scope" in operation["description"], (method, path)
            assert {"401", "403", "429"} <= set(operation["responses"])
