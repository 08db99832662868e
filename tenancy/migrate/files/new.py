"""The next file of a folder, named and laid out as those before it."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tenancy.errors import MigrationFileError, SettingsError
from tenancy.migrate.files import markers, names
from tenancy.migrate.files.folder import is_direct
from tenancy.migrate.files.model import Stage
from tenancy.migrate.files.names import Entry
from tenancy.migrate.files.source import Source
from tenancy.settings import Settings, variable

_FIRST = "0001"
_DATES = {14: "%Y%m%d%H%M%S", 12: "%Y%m%d%H%M", 8: "%Y%m%d"}
_UNIX_DIGITS = 10
_UNIX_SINCE = 1_000_000_000  # 2001; a sequence of ten digits is far below

_GOOSE = "-- +goose Up\n\n\n-- +goose Down\n"
_SKELETONS = {
    "goose": _GOOSE,
    "sql-migrate": _GOOSE.replace("+goose", "+migrate"),
    "tern": "\n---- create above / drop below ----\n\n",
}
_OURS = "-- migrate:up\n\n\n-- migrate:down\n"
_PYTHON = '''"""{title}"""

# migrate:up


async def up(context):
    raise NotImplementedError


# migrate:down


async def down(context):
    raise NotImplementedError
'''


class _Manner(NamedTuple):
    """How the last file of a folder is named and laid out."""

    version: str
    mark: str = "_"
    pair: bool = False
    tool: str | None = None


def create(
    settings: Settings, title: str, *, shared: bool = False, python: bool = False
) -> tuple[Path, ...]:
    """Write the next migration's file; return its path, and that of its way down if it has one.

    Args:
        settings: where the files are; ./sql is made where there is none.
        title: what the file does, in words: they become its name.
        shared: whether it is for the shared stage.
        python: whether it is written in Python.

    Raises:
        MigrationFileError: the title has no letter or digit, the folder is refused, the versions
            are used up, or the file exists.
        SettingsError: there is no such directory, or none for the shared stage.
    """
    name = "_".join(re.findall(r"[^\W_]+", title.lower()))
    if not name:
        raise MigrationFileError(f"{title!r} has no letter or digit to name a file by")
    stage = Stage.SHARED if shared else Stage.TENANT
    folder = _folder(settings, stage)
    manner = _manner(names.entries(folder, stage) if folder.exists() else [])
    version = _next(manner.version, stage)
    files = _files(f"{version}{manner.mark}{name}", title, manner, python=python)
    paths = tuple(folder / file for file in files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, files.values(), strict=True):
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError as error:
        raise MigrationFileError(f"{error.filename} exists: it is left as it is") from error
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be written: {error.strerror}") from error
    return paths


def _folder(settings: Settings, stage: Stage) -> Path:
    folder = settings.sql_dir or Path("sql")
    if settings.sql_dir is not None and not folder.is_dir():
        raise SettingsError(f"{folder} is no directory: set {variable('sql_dir')} to one")
    if not folder.exists() or not is_direct(folder):
        return folder / stage
    if stage is Stage.SHARED:
        raise SettingsError(
            f"{folder} holds the tenants' migrations itself: move them into {folder}/tenant to "
            "have a shared/ beside them"
        )
    return folder


def _manner(found: list[Entry]) -> _Manner:
    if not found:
        return _Manner("")
    last = found[-1]
    mark = last.path.name[len(last.version)]
    if last.path.suffix == ".py":
        sql = [entry for entry in found if entry.path.suffix == ".sql"]
        return _manner(sql)._replace(version=last.version, mark=mark)
    text = last.path.read_text(encoding="utf-8", errors="replace")
    tool = markers.sections(Source(last.path.name, text)).tool
    return _Manner(last.version, mark, last.free, tool)


def _next(last: str, stage: Stage) -> str:
    if not last:
        return _FIRST
    version = str(max(int(last) + 1, _now(last))).zfill(len(last))
    if len(version) > len(last):
        raise MigrationFileError(
            f"no version of {len(last)} digits comes after {stage}/{last}: give all files one more"
        )
    return version


def _now(last: str) -> int:
    """Return the time in the form of the version *last*, 0 where that is no time."""
    now = datetime.now(UTC)
    form = _DATES.get(len(last))
    if form:
        try:
            datetime.strptime(last, form).replace(tzinfo=UTC)
        except ValueError:
            return 0
        return int(now.strftime(form))
    is_unix = len(last) == _UNIX_DIGITS and _UNIX_SINCE < int(last) <= now.timestamp()
    return int(now.timestamp()) if is_unix else 0


def _files(stem: str, title: str, manner: _Manner, *, python: bool) -> dict[str, str]:
    if python:
        text = _PYTHON.format(title=title.replace("\\", "").replace('"', "'"))
        return {f"{stem}.py": text}
    if manner.pair:
        return {f"{stem}.up.sql": "", f"{stem}.down.sql": ""}
    return {f"{stem}.sql": _SKELETONS.get(manner.tool or "", _OURS)}
