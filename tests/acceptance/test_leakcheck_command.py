"""`python -m tenancy leakcheck` and the pytest fixture, as processes a user starts."""

import asyncio
import json
import re
import shlex
import signal
import sys
import tomllib
from pathlib import Path

from support import leaky
from support.processes import environment, run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

LEAKY = """
from support.leaky import Cache

def create_app():
    return Cache().app()
"""
TEST = """
import sys
import pytest
from tenancy.errors import LeakFoundError

@pytest.fixture(scope="session")
def leakcheck_server():
    return {server!r}

def test_the_plugin_alone_loads_no_framework():
    assert "quart" not in sys.modules

async def test_a_leak_is_raised(leakcheck):
    from pathlib import Path
    report = await leakcheck(
        "leaking:create_app()", layout="schemas", sql=(Path("notes.sql"),), count=0
    )
    with pytest.raises(LeakFoundError, match="notes.body of leakchecka, in the body"):
        report.raise_for_leaks()
"""


async def test_the_command_of_the_readme_finds_the_demo_clean() -> None:
    (command,) = re.findall(r"<!-- leakcheck -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    words = shlex.split(command)
    assert words[0] == "python"
    result = await run(*words[1:], env=environment(), cwd=ROOT)
    assert result.code == 0, result.out + result.err
    assert "views       8 of 8 covered" in result.out
    assert result.out.endswith("clean: nothing crossed\n")
    assert "Traceback" not in result.err


async def test_a_leak_ends_the_command_with_its_report(tmp_path: Path, server_url: str) -> None:
    (tmp_path / "notes.sql").write_text(leaky.NOTES)
    (tmp_path / "leaking.py").write_text(LEAKY)
    (tmp_path / "requests.txt").write_text("# the list, again\nGET /notes?again=1\n")
    env = environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}:{tmp_path}")
    common = ("-m", "tenancy", "leakcheck", "leaking:create_app()", "--server", server_url)
    layout = ("--layout", "schemas", "--sql", "notes.sql")
    few = ("--requests", "0", "--seed", "1", "--requests-file", "requests.txt")
    result = await run(*common, *layout, *few, "--json", env=env, cwd=tmp_path)
    assert result.code == 7, result.err
    report = json.loads(result.out)
    assert report["seed"] == 1
    assert report["views"]["GET /notes?again=1"]["covered"]
    (first, *_) = report["findings"]
    assert first["kind"] == "answer"
    assert re.fullmatch(r"#\d+ GET /notes as leakcheckb", first["request"])
    assert first["what"] == "notes.body of leakchecka, in the body"

    refused = await run(*common, "--layout", "rows", env=env, cwd=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert "name files with --sql" in refused.err
    missing = await run("-m", "tenancy", "leakcheck", "nowhere:app", env=env, cwd=tmp_path)
    assert missing.code == 2
    unreachable = await run(
        *common[:-1], "postgresql://nobody@127.0.0.1:1/none", *layout, env=env, cwd=tmp_path
    )
    assert unreachable.code == 4
    assert "--server" in unreachable.err


async def test_an_interrupted_check_leaves_nothing_behind(scratch: Path) -> None:
    before = set(scratch.iterdir())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tenancy", "leakcheck", "tenancy.demo:create_app()", "--requests", "100000"),
        env=environment(TMPDIR=str(scratch)),
        cwd=ROOT,
    )
    async with asyncio.timeout(60):
        while not list(scratch.glob("tenancy-leakcheck-*/server/data/PG_VERSION")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 143
    assert set(scratch.iterdir()) == before


async def test_the_fixture_raises_for_a_leak(tmp_path: Path, server_url: str) -> None:
    (tmp_path / "notes.sql").write_text(leaky.NOTES)
    (tmp_path / "leaking.py").write_text(LEAKY)
    (tmp_path / "test_mine.py").write_text(TEST.format(server=server_url))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    env = environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}:{tmp_path}")
    result = await run("-m", "pytest", "-q", "-p", "tenancy.testing", env=env, cwd=tmp_path)
    assert result.code == 0, result.out
    assert "2 passed" in result.out


def test_the_fixture_is_registered_with_pytest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # The name is the module's, so that `-p tenancy.testing` beside it registers it once.
    assert project["entry-points"]["pytest11"] == {"tenancy.testing": "tenancy.testing"}
    assert not any(r.startswith("pytest") for r in project["dependencies"])
