"""Where a schema stands on the chain of a stage's files, from the ledger's words alone; pure."""

import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tenancy.migrate.files.model import Migration, chained, target
from tenancy.migrate.files.words import some
from tenancy.migrate.ledger.records import Baseline, History
from tenancy.migrate.ledger.reversals import UNFINISHED


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
        changed: labels of the files that were changed after they were applied; the reason may name
            but some.
    """

    verdict: Verdict
    pending: tuple[Migration, ...] = ()
    reason: str = ""
    changed: tuple[str, ...] = ()


def position(migrations: tuple[Migration, ...], digest: str) -> Position | None:
    """Return where a schema with *digest* stands; None: only its rows in the ledger can tell."""
    passed = [migration.previous for migration in migrations]
    if digest in passed:
        return Position(Verdict.BEHIND, migrations[passed.index(digest) :])
    if digest == target(migrations):
        return Position(Verdict.CURRENT)
    return None


def difference(migrations: tuple[Migration, ...], digest: str, history: History) -> Position:
    """Return how a schema with *digest* and *history*, which is off the chain, differs from it."""
    if changed := _changed(migrations, history):
        reason = (
            f"{some(changed)}: changed after it was applied; restore it, or see "
            "`repair --accept-checksum`"
        )
        return Position(Verdict.CHANGED, reason=reason, changed=changed)
    for verdict, look in (
        (Verdict.CHANGED, _changed_below),
        (Verdict.OUT_OF_ORDER, _of_other_files),
        (Verdict.OUT_OF_ORDER, _out_of_order),
    ):
        if reason := look(migrations, history):
            return Position(verdict, reason=reason)
    if reason := _damaged(digest, history):
        return Position(Verdict.DAMAGED, reason=reason)
    pending = _lacking(migrations, history)
    if pending:
        return Position(Verdict.BEHIND, pending)
    if migrations and history.newest == migrations[-1].version:
        return Position(Verdict.CURRENT)  # by a baseline which some files came below
    last = f"end at {migrations[-1].version}" if migrations else "are none"
    reason = (
        f"stands at {history.newest}, and this build's files {last}: a newer one was here, or "
        "TENANCY_SQL_DIR is the folder of another database"
    )
    return Position(Verdict.AHEAD, reason=reason)


def restored(version: str) -> Position:
    """Return where a schema stands that says *version* itself, and is none that the ledger knows.

    Its files would all be applied a second time.
    """
    reason = (
        f"its comment says it stands at {version}, and the ledger has nothing of it: was it "
        f"restored from a dump? Then say `baseline {version}` for it"
    )
    return Position(Verdict.DAMAGED, reason=reason)


def emptied() -> Position:
    """Return where a tenant's schema stands that has files, when the folder has none at all.

    That is no older build's, but a folder that is not the right one.
    """
    reason = (
        "the ledger has files of it, and tenant/ holds none: is TENANCY_SQL_DIR the folder of this "
        "database?"
    )
    return Position(Verdict.CHANGED, reason=reason)


def _damaged(digest: str, history: History) -> str:
    if digest.startswith(UNFINISHED):
        return (
            f"is half-way back from {digest.removeprefix(UNFINISHED)}: say `down` once more, to "
            "the version that it was to go to"
        )
    if history.digest != digest:
        return (
            "its rows in the ledger do not add up to its checkpoint: somebody has edited them; see "
            "`repair --rebuild-checkpoint`"
        )
    return ""


@functools.lru_cache(64)
def added(
    migrations: tuple[Migration, ...], base: Baseline, applied: frozenset[str]
) -> frozenset[str] | None:
    """Return the versions up to *base* that came after it was set, and are not in it.

    A baseline tells but the digest of its files: so those without which that is right. *applied*
    are the versions with a row of their own. None: no such files; some were changed.
    """
    known = [one for one in migrations if one.version <= base.version]
    if base.version not in {one.version for one in known}:
        return frozenset(applied)
    for late in _perhaps_late(known, applied):
        if digest_of(migrations, base.version, late) == base.digest:
            return late
    return None


def digest_of(migrations: tuple[Migration, ...], version: str, late: Collection[str]) -> str:
    """Return the digest of the files up to *version*, without those that are *late*."""
    digest = ""
    for one in migrations:
        if one.version <= version and one.version not in late:
            digest = chained(digest, one.version, one.checksum)
    return digest


def _perhaps_late(known: list[Migration], applied: frozenset[str]) -> Iterator[frozenset[str]]:
    rest = [one.version for one in known if one.version not in applied]
    yield applied
    yield from (applied | {version} for version in reversed(rest))
    # More than one of them: the newest that say so.
    willing = [one.version for one in known if one.version in rest and one.directives.order_any]
    yield from (applied | {*willing[at:]} for at in reversed(range(len(willing))))


def _lacking(migrations: tuple[Migration, ...], history: History) -> tuple[Migration, ...]:
    base = history.baseline
    late = added(migrations, base, frozenset(history.applied)) if base else None
    return tuple(
        one
        for one in migrations
        if one.version not in history.applied
        and (not history.has(one.version) or one.version in (late or ()))
    )


def _changed(migrations: tuple[Migration, ...], history: History) -> tuple[str, ...]:
    return tuple(
        migration.label
        for migration in migrations
        if history.applied.get(migration.version, migration.checksum) != migration.checksum
    )


def _changed_below(migrations: tuple[Migration, ...], history: History) -> str:
    base = history.baseline
    if base and added(migrations, base, frozenset(history.applied)) is None:
        return f"the files up to {base.version}: changed after its baseline was set; restore them"
    return ""


def _of_other_files(migrations: tuple[Migration, ...], history: History) -> str:
    """Tell a folder of another history from an older build's: a baseline has no file to compare."""
    if not migrations or len(history.newest) in (0, len(migrations[0].version)):
        return ""
    return (
        f"stands at {history.newest}, and versions here are written as {migrations[0].version}: is "
        "TENANCY_SQL_DIR the folder of this database?"
    )


def _out_of_order(migrations: tuple[Migration, ...], history: History) -> str:
    newest = history.newest
    for migration in _lacking(migrations, history):
        if migration.version < newest and not migration.directives.order_any:
            return (
                f"{migration.label}: was not applied, but {newest} was, which comes after "
                f"it; give it a version above {newest}, or say order:any in its directive"
            )
    files = {migration.version for migration in migrations}
    base = [history.baseline.version] if history.baseline else []
    for version in [*base, *sorted(history.applied)]:
        if version not in files and any(version < file for file in files):
            return (
                f"{version}: was applied, but its file is missing; restore it, or see "
                "`repair --accept-missing`"
            )
    return ""
