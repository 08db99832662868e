"""Migration files: read from a folder, each to be checked before it runs."""

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from tenancy.errors import MigrationFileError, SettingsError
from tenancy.migrate.files import idle, names
from tenancy.migrate.files.model import Files, Migration, Stage, Written
from tenancy.migrate.files.names import Entry
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source
from tenancy.settings import Settings, variable

_PACKAGE = Path(__file__).resolve().parents[2]
_MAKES_EXTENSION = re.compile("extension", re.IGNORECASE)


def load_all(settings: Settings) -> Files:
    """Return the files this deployment is made of.

    Each is read when it is needed, see `Migration`. A sql directory without ``shared`` or
    ``tenant`` has no migrations for that stage; one that holds migrations itself is ``tenant``.

    Raises:
        MigrationFileError: a file's name is refused, or it cannot be read.
        SettingsError: as `sql_folder`.
    """
    folder = sql_folder(settings)
    catalog = load(catalog_folder(), Stage.CATALOG)
    direct = is_direct(folder)
    shared = () if direct else _stage(folder / Stage.SHARED, Stage.SHARED)

    @functools.cache
    def reading() -> Reading:
        made = idle.extensions(
            statement.text
            for one in shared
            if _MAKES_EXTENSION.search(one.written.source.text)
            for statement in one.source.statements
        )
        return Reading(
            tenant=True,
            shared=settings.shared_schema,
            own=settings.sql_written_for,
            extensions=frozenset(made),
            alone=direct,
        )

    return Files(
        catalog,
        shared,
        _stage(folder if direct else folder / Stage.TENANT, Stage.TENANT, reading),
    )


def load(
    folder: Path, stage: Stage, reading: Callable[[], Reading] | None = None
) -> tuple[Migration, ...]:
    """Return the migrations in *folder* in the order of their versions.

    Args:
        folder: see `names.entries` for what may lie in it.
        stage: whose files they are.
        reading: tells where they will run, when the first is read.

    Raises:
        MigrationFileError: a name is refused, or a file is no text.
    """
    migrations: list[Migration] = []
    reading = reading or functools.partial(Reading, tenant=stage is Stage.TENANT)
    for entry in names.entries(folder, stage):
        previous = migrations[-1].digest if migrations else ""
        migrations.append(_read(entry, stage, previous, reading))
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
        SettingsError: it does not exist, or holds neither a stage nor a migration.
    """
    folder = settings.sql_dir or Path("sql")
    if not folder.is_dir():
        raise SettingsError(
            f"{folder} is no directory: set {variable('sql_dir')} to the one that holds shared/ "
            f"and tenant/, or start where ./sql is (the demo's is {packaged_sql_folder()})"
        )
    if not _has_stage(folder) and not is_direct(folder):
        raise SettingsError(
            f"{folder} holds neither shared/ nor tenant/, nor a migration: set "
            f"{variable('sql_dir')} to the directory that does, or make them there"
        )
    return folder


def is_direct(folder: Path) -> bool:
    """Whether *folder* holds the tenant's migrations itself, and no stages.

    Raises:
        MigrationFileError: it holds both, and those beside the stages would not be run.
    """
    found = sorted(path.name for path in folder.iterdir() if names.looks_like_one(path))
    if found and _has_stage(folder):
        raise MigrationFileError(
            f"{found[0]} stands beside shared/ and tenant/, and would not be run: move it into one"
        )
    return bool(found)


def _has_stage(folder: Path) -> bool:
    return any((folder / stage).is_dir() for stage in (Stage.SHARED, Stage.TENANT))


def _stage(
    folder: Path, stage: Stage, reading: Callable[[], Reading] | None = None
) -> tuple[Migration, ...]:
    return load(folder, stage, reading) if folder.exists() else ()


def _read(entry: Entry, stage: Stage, previous: str, reading: Callable[[], Reading]) -> Migration:
    is_python = entry.path.suffix == ".py"
    source = Source(f"{stage}/{entry.path.name}", _text(entry.path, stage), sql=not is_python)
    down = Source(f"{stage}/{entry.down.name}", _text(entry.down, stage)) if entry.down else None
    written = Written(source, down, entry.free, entry.path if is_python else None, reading)
    return Migration(stage, entry.version, entry.name, _checksum(source.text), previous, written)


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
