"""Migration files: read from a folder, checked whole before any of them runs."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from tenancy.errors import MigrationFileError, SettingsError
from tenancy.migrate.files import directives, rules
from tenancy.migrate.files.model import Files, Migration, Stage
from tenancy.migrate.files.source import Source
from tenancy.settings import Settings, variable

_NAME = re.compile(r"(?P<version>[0-9]+)_(?P<name>[A-Za-z0-9][A-Za-z0-9_-]*)\.sql")
_PACKAGE = Path(__file__).resolve().parents[2]


def load_all(settings: Settings) -> Files:
    """Return the files this deployment is made of.

    A sql directory without ``shared`` or ``tenant`` has no migrations for that stage.

    Raises:
        MigrationFileError: a file is refused.
        SettingsError: as `sql_folder`.
    """
    folder = sql_folder(settings)
    catalog = load(catalog_folder(), Stage.CATALOG)
    application = ((folder / stage, stage) for stage in (Stage.SHARED, Stage.TENANT))
    return Files(catalog, *(load(at, stage) if at.exists() else () for at, stage in application))


def load(folder: Path, stage: Stage) -> tuple[Migration, ...]:
    """Return the migrations in *folder* in the order of their versions.

    Dotfiles and README files are passed over. Any other name than ``<version>_<name>.sql`` is an
    error: better a file refused than one which nobody notices is never run.

    Raises:
        MigrationFileError: names the file, the place in it, and what to do.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise MigrationFileError(
            f"{folder} cannot be read as a folder: {error.strerror}"
        ) from error
    named = [
        (_name(path, stage), path) for path in entries if not path.name.startswith((".", "README"))
    ]
    _refuse_unordered(stage, [match for match, _ in named])
    migrations: list[Migration] = []
    for match, path in named:
        previous = migrations[-1].digest if migrations else ""
        migrations.append(_read(path, stage, match, previous))
    return tuple(migrations)


def catalog_folder() -> Path:
    """Return where tenancy's own migrations are.

    Raises:
        MigrationFileError: as `packaged_sql_folder`.
    """
    return packaged_sql_folder() / Stage.CATALOG


def packaged_sql_folder() -> Path:
    """Return the sql directory in the installed package, or beside it in a checkout.

    Raises:
        MigrationFileError: there is none in either place.
    """
    for parent in (_PACKAGE, _PACKAGE.parent):
        if (parent / "sql" / Stage.CATALOG).is_dir():
            return parent / "sql"
    raise MigrationFileError("the package has no sql/catalog: install tenancy again")


def sql_folder(settings: Settings) -> Path:
    """Return the application's sql directory.

    Raises:
        SettingsError: it does not exist, or holds no stage at all.
    """
    folder = settings.sql_dir or Path("sql")
    if not folder.is_dir():
        raise SettingsError(
            f"{folder} is no directory: set {variable('sql_dir')} to the one that holds shared/ "
            f"and tenant/, or start where ./sql is (the demo's is {packaged_sql_folder()})"
        )
    if not any((folder / stage).is_dir() for stage in (Stage.SHARED, Stage.TENANT)):
        raise SettingsError(
            f"{folder} holds neither shared/ nor tenant/: set {variable('sql_dir')} to the "
            "directory that does, or make them there"
        )
    return folder


def _name(path: Path, stage: Stage) -> re.Match[str]:
    match = _NAME.fullmatch(path.name)
    if match is not None and path.is_file():
        return match
    reason = "is not named <version>_<name>.sql: rename it, or move it elsewhere"
    if path.is_dir():
        reason = "is a folder: migrations stand side by side, so move it elsewhere"
    elif path.suffix == ".py":
        reason = "is Python, which this version of tenancy does not run: write it in SQL"
    elif path.name.endswith(".down.sql"):
        reason = "goes down, which this version of tenancy does not run: remove it"
    elif path.name.endswith(".up.sql"):
        reason = "has golang-migrate's name: rename it to end in .sql alone"
    raise MigrationFileError(f"{stage}/{path.name} {reason}")


def _refuse_unordered(stage: Stage, names: Iterable[re.Match[str]]) -> None:
    first: re.Match[str] | None = None
    taken: dict[str, str] = {}
    for match in names:
        first = first or match
        if len(match["version"]) != len(first["version"]):
            raise MigrationFileError(
                f"{stage}/{match.string} has a version of {len(match['version'])} digits and "
                f"{first.string} one of {len(first['version'])}: give all the same width"
            )
        if match["version"] in taken:
            raise MigrationFileError(
                f"{stage}/{match.string} has the version of {taken[match['version']]}: "
                "give one of them a higher number"
            )
        taken[match["version"]] = match.string


def _read(path: Path, stage: Stage, name: re.Match[str], previous: str) -> Migration:
    source = Source(f"{stage}/{path.name}", _text(path, stage))
    followed = directives.read(source)
    rules.check(source, tenant=stage is Stage.TENANT)
    checksum = _checksum(source.text)
    return Migration(stage, name["version"], name["name"], checksum, previous, source, followed)


def _text(path: Path, stage: Stage) -> str:
    label = f"{stage}/{path.name}"
    try:
        text = path.read_bytes().decode("utf-8-sig")  # an editor's BOM is no SQL
    except OSError as error:
        raise MigrationFileError(f"{label} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MigrationFileError(
            f"{label} is not UTF-8 at byte {error.start + 1}: save it as UTF-8"
        ) from error
    # Uniform before it runs too, or one file would put different strings into different tenants.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        place = Source(label, text[: text.index("\0")])
        raise place.refusal(len(place.text), "a NUL, which no SQL text may hold: remove it")
    return text


def _checksum(text: str) -> str:
    lines = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    return hashlib.sha256(lines.rstrip("\n").encode()).hexdigest()
