"""The README's examples of resolvers, marks and sessions work as written."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk, jwt
from quart import Quart
from support.databases import Database

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.partition("### Which tenant, and for whom")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)

ACME, GLOBEX, API, OPS = (
    {"Host": f"{name}.example.com"} for name in ("acme", "globex", "api", "ops")
)


@pytest.fixture
def environ(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENANCY_DATABASE_URL", database.app_url)
    monkeypatch.setenv("TENANCY_REQUIRE_DURABILITY", "false")
    monkeypatch.setenv("TENANCY_POOL_MIN_SIZE", "1")
    monkeypatch.setenv("TENANCY_OPERATOR_HOSTS", "ops.example.com")
    return monkeypatch


def _app(example: str) -> Quart:
    names: dict[str, Any] = {"__name__": "example"}
    exec(example, names)
    app: Quart = names["app"]
    return app


async def test_a_token_and_a_sub_domain_in_a_chain(environ: Any) -> None:
    key = jwk.generate_key("RSA", 2048)
    environ.setenv("ID_PUBLIC_KEY", key.as_pem(private=False).decode())

    def bearing(tenant: str, scope: str = "notes read") -> dict[str, str]:
        claims = {
            "aud": "notes", "iss": "https://id.example.com", "exp": time.time() + 60,
            "tenant": tenant, "sub": "ann", "scope": scope,
        }  # fmt: skip
        return {"Authorization": "Bearer " + jwt.encode({"alg": "RS256"}, claims, key)}

    async with _app(EXAMPLES[0]).test_app() as running:
        client = running.test_client()
        for host, headers, expected in (
            (API, bearing("acme"), 200),
            (ACME, bearing("acme"), 200),
            (GLOBEX, bearing("acme"), 400),
            (ACME, bearing("acme", scope="billing"), 403),
            (ACME, {}, 401),
            (API, {}, 401),
        ):
            answer = await client.get("/me", headers=host | headers)
            assert answer.status_code == expected
            if expected == 200:
                assert await answer.get_json() == {"tenant": "acme", "user": "ann"}


async def test_the_marks_of_views_and_blueprints(environ: Any) -> None:
    environ.setenv("TENANCY_BASE_DOMAINS", "example.com")
    app = _app(EXAMPLES[1])
    app.config["SESSION_COOKIE_DOMAIN"] = ".example.com"
    async with app.test_app() as running:
        client = running.test_client()
        assert (await client.get("/", headers=ACME)).status_code == 401
        answer = await client.post("/log-in", headers=ACME, form={"user": "ann"})
        assert answer.status_code == 200
        answer = await client.get("/", headers=ACME)
        assert await answer.get_data(as_text=True) == "ann of acme"
        assert (await client.get("/", headers=GLOBEX)).status_code == 403
        assert (await client.get("/sign-up", headers={"Host": "example.com"})).status_code == 200
        assert (await client.get("/console/", headers=ACME)).status_code == 404
        assert (await client.get("/console/", headers=OPS)).status_code == 403  # acme's session
        operator = running.test_client()
        assert (await operator.get("/console/", headers=OPS)).status_code == 200
        assert (await operator.get("/", headers=OPS)).status_code == 421


def test_the_table_of_resolvers_is_of_those_that_exist() -> None:
    import tenancy  # noqa: PLC0415 - what is public

    named = set(re.findall(r"\b(by_\w+|chain)\(", SECTION))
    assert named == {name for name in tenancy.__all__ if name.startswith("by_") or name == "chain"}
