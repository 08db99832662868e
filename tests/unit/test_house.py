"""The house: imports only go down, public names are listed once, the gate stays short."""

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import tenancy
from tenancy import errors, problems

PACKAGE = Path(tenancy.__file__).parent

FLOORS = {
    "errors": 0,
    "identifiers": 1,
    "versions": 1,
    "bucket": 1,
    "settings": 2,
    "statements": 1,
    "resolvers": 2,
    "problems": 2,
    "tenant": 4,
    "entrance": 3,
    "limits": 2,
    "faults": 2,
    "lent": 2,
    "envelope": 2,
    "permits": 2,
    "outage": 2,
    "exits": 3,
    "shapes": 3,
    "connection": 4,
    "pool": 5,
    "preflight": 5,
    "walls": 3,
    "embedded": 4,
    "directory": 5,
    "lookup": 5,
    "memory": 6,
    "listener": 6,
    "registry": 7,
    "readiness": 6,
    "scope": 6,
    "transaction": 7,
    "migrate": 6,
    "asgi": 5,
    "authorization": 5,
    "resolution": 8,
    "audience": 3,
    "sessions": 6,
    "shutdown": 8,
    "provision": 7,
    "jobs": 8,
    "leakcheck": 8,
    "testing": 9,
    "hooks": 9,
    "extension": 10,
    "__init__": 11,
    "app": 12,
    "demo": 13,
    "serve": 14,
    "__main__": 15,
}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _floor_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tenancy":
            parts = (node.module or "").split(".")[1:]
            names |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("tenancy.")}
    return names


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    here = _floor_of(path)
    for name in _imported(path):
        if name != here:
            assert FLOORS[name] < FLOORS[here], f"{here} imports {name}"


def test_public_names_are_listed_once_and_exist() -> None:
    assert sorted(tenancy.__all__) == list(tenancy.__all__)
    assert all(hasattr(tenancy, name) for name in tenancy.__all__)


def test_every_module_can_be_imported_alone() -> None:
    for module in pkgutil.walk_packages([str(PACKAGE)], "tenancy."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_the_gate_can_be_read_in_a_minute() -> None:
    for name in ("transaction.py", "scope.py"):
        assert len((PACKAGE / name).read_text().splitlines()) < 150


def test_every_error_has_a_code_of_its_own() -> None:
    kinds: list[Any] = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, errors.TenancyError) for kind in kinds)
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_a_problem_document_says_nothing_of_the_exception() -> None:
    error = errors.SlugTakenError("another tenant has the slug 'globex'")
    assert b"globex" not in problems.problem(error).body
    assert problems.problem(asyncpg.PostgresError("SELECT secret")).status == 500
    assert b"secret" not in problems.problem(asyncpg.PostgresError("SELECT secret")).body
