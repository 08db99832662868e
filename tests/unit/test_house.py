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
    "fairness": 1,
    "identifiers": 1,
    "pool": 1,
    "pool.entry": 1,
    "pool.statements": 1,
    "registry": 1,
    "registry.bucket": 1,
    "versions": 1,
    "web": 1,
    "envelope": 2,
    "fairness.limits": 2,
    "loading": 3,
    "fairness.outage": 2,
    "fairness.permits": 2,
    "faults": 2,
    "pool.lent": 2,
    "problems": 2,
    "resolvers": 2,
    "settings": 2,
    "deployment": 3,
    "exits": 3,
    "fairness.entrance": 3,
    "pool.pooler": 3,
    "pool.shapes": 3,
    "web.audience": 3,
    "web.elsewhere": 3,
    "pool.connection": 4,
    "tenant": 4,
    "walls": 4,
    "embedded": 5,
    "pool.connect": 5,
    "pool.holders": 5,
    "web.refusals": 5,
    "pool.pool": 6,
    "web.asgi": 6,
    "preflight": 6,
    "reports": 6,
    "web.authorization": 6,
    "migrate": 7,
    "registry.directory": 7,
    "registry.lookup": 7,
    "rights": 7,
    "scope": 7,
    "web.readiness": 7,
    "web.sessions": 7,
    "provision": 8,
    "registry.listener": 8,
    "registry.memory": 8,
    "transaction": 8,
    "adoption": 9,
    "doctor": 9,
    "fanout": 9,
    "leakcheck": 9,
    "portability": 9,
    "access": 9,
    "registry.registry": 9,
    "startup": 9,
    "web.shutdown": 9,
    "commands.examples": 9,
    "commands.slugs": 9,
    "jobs": 10,
    "migrate.commands": 10,
    "testing": 10,
    "web.resolution": 10,
    "migrate.__main__": 11,
    "web.hooks": 11,
    "web.described": 12,
    "extension": 12,
    "__init__": 13,
    "app": 14,
    "admin": 15,
    "demo": 15,
    "serve": 16,
    "commands": 17,
    "__main__": 18,
}


# The floors inside migrate/: a house of its own.
MIGRATE = {
    "files": 0,
    "ledger": 1,
    "plan": 2,
    "report": 3,
    "shape": 3,
    "upgrade": 4,
    "lint": 4,
    "fleet": 5,
    "origin": 5,
    "upkeep": 5,
    "rehearsal": 5,
    "__init__": 6,
    "commands": 7,
    "__main__": 8,
}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _name_of(path: Path) -> str:
    first, *rest = path.relative_to(PACKAGE).with_suffix("").parts
    return _known(first, rest[0] if rest else "")


def _known(package: str, module: str) -> str:
    """Return the module where it has a floor of its own, else its package."""
    return f"{package}.{module}" if f"{package}.{module}" in FLOORS else package


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tenancy":
            package, module, *_ = *(node.module or "").split(".")[1:], "", ""
            for alias in node.names:
                names.add(_known(package or alias.name, module or alias.name))
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("tenancy.")}
    return names


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    here = _name_of(path)
    for name in _imported(path):
        if name != here:
            assert FLOORS[name] < FLOORS[here], f"{here} imports {name}"


@pytest.mark.parametrize(
    "path",
    sorted((PACKAGE / "migrate").rglob("*.py")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_imports_inside_migrate_only_go_down(path: Path) -> None:
    here = path.relative_to(PACKAGE / "migrate").with_suffix("").parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        module = getattr(node, "module", None) or ""
        found = [f"{module}.{name}" for name in names] if module else names
        for name in found:
            if name.startswith("tenancy.migrate."):
                package = name.split(".")[2]
                there = package if package in MIGRATE else "__init__"
                assert there == here or MIGRATE[there] < MIGRATE[here], f"{here} imports {name}"


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
