"""Where a schema stands on the chain of a stage's files, from the ledger's words alone; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tenancy.migrate.files import Migration, chained, target


class Verdict(StrEnum):
    """What is to be done with a schema; the last three forbid to do anything."""

    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"  # a newer build was here: during a rolling deploy that is as it should be
    CHANGED = "changed"
    OUT_OF_ORDER = "out of order"
    DAMAGED = "damaged"

    @property
    def refused(self) -> bool:
        """Whether applying anything would contradict what was applied before."""
        return self in {Verdict.CHANGED, Verdict.OUT_OF_ORDER, Verdict.DAMAGED}


@dataclass(frozen=True, slots=True)
class Position:
    """A schema's place on the chain.

    Attributes:
        pending: what is to be applied to it, in order.
        reason: says why the verdict is neither current nor behind.
    """

    verdict: Verdict
    pending: tuple[Migration, ...] = ()
    reason: str = ""


def position(migrations: tuple[Migration, ...], digest: str) -> Position | None:
    """Return where a schema with *digest* stands; None: only its rows in the ledger can tell."""
    passed = [migration.previous for migration in migrations]
    if digest in passed:
        return Position(Verdict.BEHIND, migrations[passed.index(digest) :])
    if digest == target(migrations):
        return Position(Verdict.CURRENT)
    return None


def difference(
    migrations: tuple[Migration, ...], digest: str, applied: Mapping[str, str]
) -> Position:
    """Return how a schema off the chain differs from it.

    Its rows in the ledger are *applied*, version to checksum.
    """
    reason = _changed(migrations, applied)
    if reason:
        return Position(Verdict.CHANGED, reason=reason)
    reason = _out_of_order(migrations, applied)
    if reason:
        return Position(Verdict.OUT_OF_ORDER, reason=reason)
    if _digest_of(applied) != digest:
        reason = "its rows in the ledger do not add up to its checkpoint: somebody has edited them"
        return Position(Verdict.DAMAGED, reason=reason)
    newest = max(applied)
    reason = f"stands at {newest}, which this build does not have: a newer one was here"
    return Position(Verdict.AHEAD, reason=reason)


def _changed(migrations: tuple[Migration, ...], applied: Mapping[str, str]) -> str:
    changed = [
        migration.source.label
        for migration in migrations
        if applied.get(migration.version, migration.checksum) != migration.checksum
    ]
    return f"{', '.join(changed)}: changed after it was applied; restore it" if changed else ""


def _out_of_order(migrations: tuple[Migration, ...], applied: Mapping[str, str]) -> str:
    newest_applied = max(applied, default="")
    for migration in migrations:
        if migration.version < newest_applied and migration.version not in applied:
            return (
                f"{migration.source.label}: was not applied, but {newest_applied} was, "
                f"which comes after it; give it a version above {newest_applied}"
            )
    files = {migration.version for migration in migrations}
    for version in sorted(applied):
        if version not in files and any(version < file for file in files):
            return f"{version}: was applied, but its file is missing; restore it"
    return ""


def _digest_of(applied: Mapping[str, str]) -> str:
    digest = ""
    for version in sorted(applied):
        digest = chained(digest, version, applied[version])
    return digest
