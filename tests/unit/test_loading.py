"""An application that cannot be served is told at the start, with the place and the cure."""

import re
import sys
from pathlib import Path

import pytest

from tenancy import loading
from tenancy.errors import SettingsError


@pytest.fixture(autouse=True)
def _written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    files = {
        "load_key": "import os\n\n\nTOKEN = {}['X']\n",
        "load_json": "import json\n\napp = json.loads('{')\n",
        "load_syntax": "x = 1\ndef app(:\n",
        "load_good": "async def app(scope, receive, send): ...\n"
        "def create_app(title='x'): return app\n"
        "async def create_later(): return app\n",
        "load_import": "import no_such_module\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("load_key:app", r"loading load_key:app failed at load_key\.py:4: KeyError: 'X'"),
        ("load_json:app", r"failed at load_json\.py:3: JSONDecodeError: "),
        ("load_syntax:app", r"failed at load_syntax\.py:2: SyntaxError: "),
        ("load_import:app", r"failed at load_import\.py:1: ModuleNotFoundError: .*no_such_module"),
        ("load_good:nothing", r"not found.*Write module:expression"),
        ("load_good:app.nothing", r"failed.*: AttributeError"),
        ("nowhere:app", r"'nowhere:app'.*Write module:expression"),
        (
            "load_good:create_app",
            r"is no ASGI application: write load_good:create_app\(\)",
        ),
        ("load_good:create_later", r"is no ASGI application"),
        ("os:path", r"os:path is no ASGI application: write module:expression"),
    ],
)
def test_what_cannot_be_served_is_one_line_that_says_where(target: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loading.load(target)
    assert re.search(words, str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", ["load_good:app", "load_good:create_app()", "load_good"])
def test_an_application_is_loaded(target: str) -> None:
    assert loading.load(target).__name__ == "app"
