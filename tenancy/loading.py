"""From ``module:expression`` to an ASGI application, or to one clear line that says why not."""

import importlib
import inspect
import operator
import sys
import traceback
from pathlib import Path
from typing import Any, cast

import asyncpg
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.typing import ASGIFramework
from hypercorn.utils import NoAppError, load_application

from tenancy.errors import SettingsError, TenancyError
from tenancy.faults import reason

_HOW = "write module:expression, as in myapp:app"
_ASGI = (None, None, None)  # scope, receive, send
_NOT_THEIRS = ("site-packages", "importlib")


def load(target: str) -> ASGIFramework:
    """Return the ASGI application that *target* names, in hypercorn's notation.

    Raises:
        SettingsError: there is none, it is no ASGI application, or its module fails; says where.
        TenancyError: as the module raised it.
    """
    try:
        wrapper = load_application(target, 0)
    except TenancyError:
        raise
    except NoAppError as error:
        raise SettingsError(f"{error} {_HOW[0].upper()}{_HOW[1:]}") from error
    except Exception as error:
        raise SettingsError(f"loading {target} failed{told(error)}") from error
    app: Any = cast("ASGIWrapper", wrapper).app
    if not isinstance(wrapper, ASGIWrapper) or not _takes(app, _ASGI):
        how = f"write {target}()" if inspect.isroutine(app) and _takes(app, ()) else _HOW
        raise SettingsError(f"{target} is no ASGI application: {how}")
    return cast("ASGIFramework", app)


def find(target: str) -> object:
    """Return the object that *target* names; the working directory is looked in, too.

    Args:
        target: ``module:object``, dots in both.

    Raises:
        SettingsError: there is none, or its module fails; says where.
        TenancyError: as the module raised it.
    """
    name, colon, path = target.partition(":")
    if not (name and colon and path):
        raise SettingsError(f"{target!r} names no object: write module:object, as in myapp:hooks")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(name)
    except TenancyError:
        raise
    except Exception as error:
        raise SettingsError(f"loading {target} failed{told(error)}") from error
    try:
        return operator.attrgetter(path)(module)
    except AttributeError as error:
        raise SettingsError(f"{target} cannot be found: the module {name} has no {path}") from error


def told(error: Exception) -> str:
    """Return where in the user's files *error* was raised, and in which words."""
    words = reason(error) if isinstance(error, asyncpg.PostgresError) else _words(error)
    return f"{_place(error)}: {type(error).__name__}{words and ': '}{words}"


def _takes(app: Any, arguments: tuple[object, ...]) -> bool:  # noqa: ANN401 - a user's
    try:
        inspect.signature(app).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a built-in one, which does not tell
        return True
    return True


def _place(error: Exception) -> str:
    """Return `` at <file>:<line>``: the last line of the user's own, else the last one."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        frames.append((error.filename or "", error.lineno))
    files = [(Path(name), line) for name, line in frames if not name.startswith("<")]
    own = [(file, line) for file, line in files if _is_own(file)]
    for file, line in (own or files)[-1:]:
        return f" at {_short(file)}:{line}"
    return ""


def _is_own(file: Path) -> bool:
    package = Path(__file__).parent
    if package in file.parents or any(part in _NOT_THEIRS for part in file.parts):
        return False
    return Path.cwd() in file.resolve().parents


def _short(file: Path) -> str:
    return str(file.relative_to(Path.cwd())) if Path.cwd() in file.parents else file.name


def _words(error: Exception) -> str:
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    return words.strip().split("\n")[0]
