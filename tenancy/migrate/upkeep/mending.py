"""What the ledger should say of a schema instead of what it does; pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.records import Baseline, History
from tenancy.migrate.ledger.reversals import UNFINISHED
from tenancy.migrate.plan.chain import added, difference, digest_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be put right.

    Attributes:
        checksums: accept files as they are now, though they were changed after they were applied.
        checkpoints: believe the rows where they do not add up to the checkpoint.
        missing: versions of tenants' files that are gone, and are to be forgotten.
        versions: of the files that are accepted; empty: of all that were changed.
    """

    checksums: bool = False
    checkpoints: bool = False
    missing: frozenset[str] = frozenset()
    versions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Mend:
    """One history, and what becomes of it.

    Attributes:
        digest: of the checkpoint as it is; empty: there is none.
        refusal: why nothing is done; empty: it is.
    """

    before: History
    after: History
    digest: str
    refusal: str = ""

    @property
    def needed(self) -> bool:
        """Whether anything changes."""
        return self.before != self.after or self.digest != self.after.digest

    @property
    def checksums(self) -> dict[str, tuple[str, str]]:
        """The old and the new checksum of each version whose row changes."""
        return {
            version: (checksum, self.after.applied[version])
            for version, checksum in self.before.applied.items()
            if self.after.applied.get(version, checksum) != checksum
        }

    @property
    def forgotten(self) -> list[str]:
        """Versions whose rows go."""
        return sorted(self.before.applied.keys() - self.after.applied.keys())

    def words(self) -> Iterator[str]:
        """Yield what changes, one line for each row."""
        for version, (old, new) in sorted(self.checksums.items()):
            yield f"{version}: checksum {old[:12]} becomes {new[:12]}"
        for version in self.forgotten:
            yield f"{version}: forgotten, its file is missing"
        if self.before.baseline != self.after.baseline and self.after.baseline:
            yield f"{self.after.baseline.version}: its baseline stands for the files as they are"
        if self.before == self.after:
            yield f"the checkpoint becomes {self.after.newest or 'nothing'}, as the rows say"


def mended(
    migrations: tuple[Migration, ...], digest: str, history: History, wanted: Wanted
) -> Mend:
    """Return what becomes of a schema with *history* whose checkpoint says *digest*.

    It is refused where the files would still contradict the ledger afterwards: then nothing would
    be won, and the checkpoint would hide it.
    """
    if digest.startswith(UNFINISHED):  # its rows say nothing of what is gone already
        return Mend(history, history, digest, difference(migrations, digest, history).reason)
    if history.digest != digest and not wanted.checkpoints:
        reason = "its rows do not add up to its checkpoint: repair --rebuild-checkpoint first"
        return Mend(history, history, digest, reason)
    after = history
    if wanted.checksums:
        after = _accepted(migrations, after, wanted.versions)
    if wanted.missing:
        files = {migration.version for migration in migrations}
        after = _without(after, wanted.missing - files)
    if after == history and history.digest == digest:
        return Mend(history, history, digest)
    found = difference(migrations, after.digest, after)
    return Mend(history, after, digest, found.reason if found.verdict.refused else "")


def _accepted(
    migrations: tuple[Migration, ...], history: History, versions: Collection[str]
) -> History:
    applied, base = dict(history.applied), history.baseline
    for migration in migrations:
        version = migration.version
        if versions and version not in versions:
            continue
        if version in applied:
            applied[version] = migration.checksum
        if base is not None and version == base.version:
            # What came after it was set is not in it: accepting that would leave it out for good.
            late = added(migrations, base, frozenset(applied)) or frozenset(applied)
            base = Baseline(version, digest_of(migrations, version, late))
    return History(applied, base)


def _without(history: History, versions: Collection[str]) -> History:
    applied = {
        version: checksum
        for version, checksum in history.applied.items()
        if version not in versions
    }
    return History(applied, history.baseline)
