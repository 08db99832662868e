"""The operator's API as it is served: the guide's own lines, and what /openapi.json says of it.

Short form of schemathesis: 6 examples for each operation and phase. Long form (--long): 300.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.clients import all_is_quiet
from support.databases import Database
from support.panels import token
from support.processes import environment, hypercorn, panel, run

from tenancy import Settings, admin, provision
from tenancy.errors import TenancyError, UnknownTenantError
from tenancy.provision.audit import Wanted

pytestmark = pytest.mark.timeout(3600)

GUIDE = (Path(admin.__file__).parent / "README.md").read_text()
DOMAIN = "www.acme.example"
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance", "unsupported_method"),
    "ignored_auth",
)


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


async def _shell(text: str, env: dict[str, str], cwd: Path) -> str:
    """Run *text* as an operator pastes it; what it has started ends with it."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", text.replace("python -m", f"{sys.executable} -m")),
        env=env,
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.skipif(not shutil.which("curl"), reason="the guide's lines are curl's")
async def test_the_guides_lines_make_and_suspend_a_tenant(
    database: Database, tmp_path: Path
) -> None:
    env = environment(database.settings())
    first, tokens = _blocks("sh")
    async with panel(env=env) as server:
        lines = first.replace("8001", str(server.port)).splitlines()
        (start,) = [line for line in lines if " admin --port " in line]
        lines.remove(start)  # it is served already
        out = await _shell("\n".join(lines), env, tmp_path)
        assert '"slug":"initech"' in out
        assert '"state":"suspended"' in out
        assert '"reason":"unpaid"' in out
    async with provision.administrator(database.settings()) as desk:
        made = await desk.entries(Wanted(slug="initech", action="create"))
        assert [(entry.actor, entry.source) for entry in made] == [("token:panel", "127.0.0.1")]
        assert (await desk.show("initech")).tenant.state == "suspended"
    out = await _shell(tokens, env, tmp_path)
    assert re.search(r"^tnc_[0-9a-f]{12}_[0-9a-f]{64}$", out, re.MULTILINE)
    assert "billing is revoked" in out


async def test_the_guides_application_serves_tenants_and_operators(
    database: Database, tmp_path: Path
) -> None:
    (example,) = _blocks("python")
    (tmp_path / "app.py").write_text(example)
    settings = database.settings(operator_hosts=("admin.example.com",))
    env = environment(
        settings, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    )
    async with hypercorn("app:app", env=env, cwd=tmp_path) as server:
        assert (await server.get("/v1/tenants", "admin.example.com"))[0] == 401
        assert (await server.get("/v1/tenants", "acme.example.com"))[0] == 404


async def test_behind_a_proxy_the_clients_address_is_the_audits(
    database: Database, tmp_path: Path
) -> None:
    (line,) = re.findall(r"`(ProxyFixMiddleware\(.*?\))`", GUIDE)
    (tmp_path / "proxied.py").write_text(
        "from hypercorn.middleware import ProxyFixMiddleware\n"
        f"from tenancy.admin import create_admin_app\napp = {line}\n"
    )
    settings = database.settings()
    text = await token(settings)
    env = environment(
        settings, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    )
    async with hypercorn("proxied:app", env=env, cwd=tmp_path) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /v1/tenants/acme/suspend HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            b"X-Forwarded-For: 192.0.2.7\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            + f"Authorization: Bearer {text}\r\n\r\n{{}}".encode()
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
    async with provision.administrator(settings) as desk:
        (entry,) = await desk.entries(Wanted(action="suspend"))
        assert entry.source == "192.0.2.7"


async def _keep_acme(settings: Settings, moments: list[float]) -> None:
    """Let there be a tenant acme with its domain, whatever has just been done to it."""
    while True:
        async with provision.administrator(settings) as desk:
            try:
                if (await desk.show("acme")).tenant.state == "deleting":
                    await desk.restore("acme")
                await desk.add_domain("acme", DOMAIN, verified=True)
            except UnknownTenantError:
                moments.append(asyncio.get_running_loop().time())
                with contextlib.suppress(TenancyError):  # somebody has just taken the name
                    await desk.create("acme")
            except TenancyError:
                pass
        await asyncio.sleep(0.05)


async def test_every_answer_is_one_that_is_described(
    database: Database, seed: int, long: bool, tmp_path: Path
) -> None:
    settings = database.settings(admin_requests_per_second=10_000, dns_servers=("127.0.0.1:1",))
    text = await token(settings)
    (tmp_path / "schemathesis.toml").write_text(
        f'[parameters]\n"path.slug" = "acme"\n"path.name" = "{DOMAIN}"\n"header.If-Match" = "*"\n'
    )
    gone: list[float] = []
    async with (
        panel(env=environment(settings)) as server,
        asyncio.TaskGroup() as group,
    ):
        keeper = group.create_task(_keep_acme(settings, gone))
        result = await run(
            *("-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"),
            *("--header", f"Authorization: Bearer {text}", "--checks", ",".join(CHECKS)),
            *("--max-examples", "300" if long else "6", "--seed", str(seed)),
            *("--mode", "all", "--generation-database", "none", "--report", "har"),
            env={**os.environ, "PYTHONUTF8": "1"},
            cwd=tmp_path,  # it leaves a directory of its own
            seconds=3600 if long else 600,
        )
        print(result.out[-6000:], result.err[-2000:], "".join(server.err)[-3000:])
        keeper.cancel()
        assert result.code == 0
        assert await all_is_quiet(database, server)
    told = _told(tmp_path / "schemathesis-report")
    print(told, "gone", len(gone))
    assert {method for method, status in told if status < 300} >= {"GET", "POST", "PATCH", "DELETE"}


def _told(reports: Path) -> Counter[tuple[str, int]]:
    """How often each method had each status."""
    (report,) = reports.iterdir()
    entries = json.loads(report.read_text())["log"]["entries"]
    return Counter((each["request"]["method"], each["response"]["status"]) for each in entries)
