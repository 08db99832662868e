"""Which files have to be taken back, and whether they can be; pure."""

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.model import Migration
from tenancy.migrate.files.versions import spelled
from tenancy.migrate.ledger.records import History

NOTHING = "0"


def target(migrations: tuple[Migration, ...], version: str) -> str:
    """Return *version* as the files write it, leading zeros and all; 0 is before the first.

    Raises:
        MigrationRefusedError: no file has it.
    """
    if not version.strip("0"):
        return ""
    known = {migration.version for migration in migrations}
    found = spelled(version, known)
    if found not in known:
        raise MigrationRefusedError(
            f"no tenant file has the version {version!r}: name the last one that is to stay, "
            f"or {NOTHING} to take back all"
        )
    return found


def reversal(migrations: tuple[Migration, ...], history: History, to: str) -> tuple[Migration, ...]:
    """Return what has to be taken back so that *to* is the newest version, newest first.

    Raises:
        MigrationRefusedError: a baseline or a snapshot stands for some of it, a file is missing or
            was changed after it was applied, or has no way back.
    """
    if history.baseline and to < history.baseline.version:
        raise MigrationRefusedError(
            f"everything up to {history.baseline.version} came as one, from a baseline or a "
            f"snapshot: it cannot be taken back to {to or NOTHING}"
        )
    files = {migration.version: migration for migration in migrations}
    late = sorted((version for version in history.applied if version > to), reverse=True)
    for version in late:
        migration = files.get(version)
        if migration is None:
            raise MigrationRefusedError(f"{version}: was applied, but its file is missing")
        if migration.checksum != history.applied[version]:
            raise MigrationRefusedError(
                f"{migration.source.label}: changed after it was applied; restore it"
            )
        if migration.down is None:
            raise MigrationRefusedError(
                f"{migration.source.label}: has no way back: write a `-- migrate:down` part, or "
                "undo it with a new file"
            )
    return tuple(files[version] for version in late)
