"""Tenants by path under hypercorn: what its parsing makes of a path finds no other tenant."""

from pathlib import Path
from typing import Any

import pytest
from support.databases import Database
from support.processes import environment, hypercorn

APP = """
from quart import Quart, request, url_for
from tenancy import Tenancy, by_path

app = Quart(__name__)
tenancy = Tenancy(by_path())
tenancy.init_app(app, probes=True)

@app.get("/")
@app.get("/<path:rest>")
async def whose(rest=""):
    return {"tenant": tenancy.tenant.slug, "rest": rest, "index": url_for("whose")}
"""

ANSWERS: dict[str, Any] = {
    "/t/acme": ("acme", ""),
    "/t/acme/": ("acme", ""),
    "/t/acme?a=/../globex": ("acme", ""),
    "/t/globex/x%2Fy/%C3%A9": ("globex", "x/y/é"),
    "/t/acme/x%252e%252e": ("acme", "x%2e%2e"),
    "/t%2Facme/x": 400,
    "/t/acme%2Fx": 404,
    "/t/acme%2F..%2Fglobex/x": 404,
    "/t/%61cme/x": 404,
    "/t/acme/../globex/x": 400,
    "/t/acme/%2e%2e/globex/x": 400,
    "/t/acme/%2E%2E%2Fglobex": 400,
    "/t//acme/x": 404,
    "//t/acme/x": 400,
    "/t/acme%00/x": 404,
    "http://example.com/t/acme/x": 400,
}


@pytest.mark.parametrize("root", ["", "/app"])
async def test_a_path_has_its_answer(database: Database, tmp_path: Path, root: str) -> None:
    (tmp_path / "pathed.py").write_text(APP)
    env = environment(database.settings())
    arguments = ["pathed:app", *(["--root-path", root] if root else [])]
    async with hypercorn(*arguments, env=env, cwd=tmp_path) as server:
        for path, expected in ANSWERS.items():
            target = path if path.startswith("http") else root + path
            status, body = await server.get(target, "example.com")
            if isinstance(expected, int):
                assert status == expected, path
            else:
                assert (status, body["tenant"], body["rest"]) == (200, *expected), path
                assert body["index"] == f"{root}/t/{expected[0]}/"
