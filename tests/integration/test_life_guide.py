"""The operator's guide, and the other papers: their commands are taken, their hooks are called."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support.databases import Database
from support.processes import environment
from support.trees import examples, parse

from tenancy import provision
from tenancy.errors import StepRefusedError
from tenancy.exits import Exit
from tenancy.provision.hooks import load

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "tenancy" / "provision" / "README.md").read_text()
PAPERS = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "sql" / "README.md"]
PAPERS += sorted((ROOT / "tenancy").rglob("README.md"))


def _lines() -> list[str]:
    papers = "\n".join(path.read_text() for path in PAPERS)
    blocks = re.findall(r"^```sh\n(.*?)^```", papers, re.DOTALL | re.MULTILINE)
    return sorted({line for block in blocks for line in examples(block)})


@pytest.mark.parametrize("line", _lines())
def test_click_takes_a_command_of_the_papers(line: str) -> None:
    parse(line)


def test_the_exit_codes_of_the_guide_are_those_there_are() -> None:
    table = GUIDE[GUIDE.index("| exit code | means |") :].split("\n\n")[0]
    rows = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    told = {int(number) for row in rows for number in row.split(", ")}
    assert told - {130, 143} == {int(code) for code in Exit}


async def test_the_hooks_of_the_guide_are_called(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = re.search(r"<!-- hooks -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    assert example is not None
    (tmp_path / "guide_hooks.py").write_text(example[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        hooks = load("guide_hooks:hooks")
        async with provision.administrator(database.settings(), hooks=hooks) as admin:
            heard: list[str] = []
            await admin.connection.add_listener("billing", lambda *told: heard.append(told[-1]))
            with pytest.raises(StepRefusedError, match="looks like a test"):
                await admin.create("test-1")
            await admin.create("initech")
            await admin.show("initech")  # a notification comes with the next answer
            assert heard == ["create initech"]
            with pytest.raises(StepRefusedError, match="'test-2' looks like a test"):
                await admin.rename("initech", "test-2")
    finally:
        sys.modules.pop("guide_hooks", None)
    assert json.loads(capsys.readouterr().err) == {
        "step": "create",
        "slug": "initech",
        "actor": provision.Actor.of_process().name,
    }


async def test_the_loops_of_the_guide_go_through_every_tenant(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = re.search(r"<!-- each -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    assert example is not None
    for name, value in environment(database.settings()).items():
        if name.startswith("TENANCY_"):
            monkeypatch.setenv(name, value)
    names: dict[str, Any] = {}
    exec(example[1], names)
    await names["main"]()
    said = sorted(capsys.readouterr().out.splitlines())
    assert said == ["acme 0", "acme DELETE 0", "globex 0", "globex DELETE 0"]
