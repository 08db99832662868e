"""Python files: from their text to their functions, once per process and apart from all else."""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from importlib.abc import ExecutionLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tenancy.errors import MigrationFileError
from tenancy.migrate.files.model import Language, Migration

Function = Callable[[Any], Awaitable[None]]


class Functions(NamedTuple):
    """What a file defines."""

    up: Function
    down: Function | None


def load(migration: Migration) -> Functions:
    """Return the functions of *migration*; its module is run the first time, and never again.

    What is run is the text whose checksum is known, not what the file may say by now. The module is
    under a name that nothing else can have, and shared by all schemas.

    Raises:
        MigrationFileError: it cannot be run, or has no ``async def up(context)``; gives the line.
    """
    if migration.path is None:
        raise TypeError(f"{migration.source.label} is not Python")
    return _loaded(migration.path, migration.source.label, migration.source.text)


def require(migrations: Iterable[Migration]) -> None:
    """Pass if every Python file among *migrations* can be loaded; call it before anything runs.

    Raises:
        MigrationFileError: as `load`.
    """
    for migration in migrations:
        if migration.language is Language.PYTHON:
            load(migration)


def place(label: str, path: Path, error: BaseException) -> str:
    """Return where in the file at *path* an error came from, as ``<label>:<line>:<column>``."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            found = f":{frame.lineno}:{(frame.colno or 0) + 1}"
    if isinstance(error, SyntaxError) and error.filename == str(path):
        found = f":{error.lineno}:{error.offset or 1}"
    return f"{label}{found}"


class _Text(ExecutionLoader):
    """Runs a text that has been read."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - there is but one
        return self._text

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002
        return str(self._path)


@cache
def _loaded(path: Path, label: str, text: str) -> Functions:
    # dataclasses and pickle look a class's module up; a path has no place in a name of ours.
    name = f"tenancy-migration:{path}"
    spec = importlib.util.spec_from_loader(name, _Text(path, text), origin=str(path))
    if spec is None or spec.loader is None:
        raise MigrationFileError(f"{label}: cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise MigrationFileError(
            f"{place(label, path, error)}: importing it failed: {_words(error)}"
        ) from error
    return Functions(_required(module, label), _function(module, label, "down"))


def _required(module: ModuleType, label: str) -> Function:
    found = _function(module, label, "up")
    if found is None:
        raise MigrationFileError(f"{label}: defines no `async def up(context)`: add it")
    return found


def _function(module: ModuleType, label: str, name: str) -> Function | None:
    found = getattr(module, name, None)
    if found is None:
        return None
    if not inspect.iscoroutinefunction(found):
        raise MigrationFileError(
            f"{label}: {name} is no coroutine: write `async def {name}(context)`"
        )
    try:
        inspect.signature(found).bind(None)
    except TypeError as error:
        raise MigrationFileError(
            f"{label}: {name} cannot be called with the context alone: "
            f"write `async def {name}(context)`"
        ) from error
    return found  # type: ignore[no-any-return]


def _words(error: BaseException) -> str:
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {words}".strip().split("\n")[0].removesuffix(":")
