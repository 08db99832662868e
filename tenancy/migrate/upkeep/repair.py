"""The ledger put right where somebody has changed files, or the ledger itself."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from tenancy.errors import MigrationRefusedError, UnknownVersionError
from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Files, Stage
from tenancy.migrate.files.versions import spelled
from tenancy.migrate.ledger import checkpoints, identities, mends, stamp
from tenancy.migrate.ledger.cohorts import Cohort, cohorts
from tenancy.migrate.ledger.members import members_of
from tenancy.migrate.ledger.mends import Gone
from tenancy.migrate.ledger.records import Move
from tenancy.migrate.ledger.selection import Selection
from tenancy.migrate.plan.survey import refuse_unknown
from tenancy.migrate.upgrade import lock
from tenancy.migrate.upgrade.session import Session
from tenancy.migrate.upkeep.mending import Mend, Wanted, mended
from tenancy.settings import Settings

BATCH = 500  # schemas in one transaction


@dataclass(frozen=True, slots=True)
class Repair:
    """What is to be done to schemas with the same history."""

    cohort: Cohort
    mend: Mend


class Repairs:
    """What is to be done, under the run's lock; nothing is, before `carry_out`.

    Attributes:
        planned: groups of schemas with what becomes of them, those that are refused too.
        gone: schemas that would be forgotten.
    """

    def __init__(
        self, conn: asyncpg.Connection, planned: Sequence[Repair], gone: Sequence[Gone]
    ) -> None:
        self.planned = tuple(planned)
        self.gone = tuple(gone)
        self._conn = conn

    @property
    def refused(self) -> tuple[Repair, ...]:
        """Those of which nothing can be put right like this."""
        return tuple(one for one in self.planned if one.mend.refusal)

    @property
    def ready(self) -> tuple[Repair, ...]:
        """Those of which something is."""
        return tuple(one for one in self.planned if not one.mend.refusal)

    async def carry_out(self) -> int:
        """Do what is ready, a few hundred schemas at a time; return how many were put right.

        What has been done stays where a later part fails; again does the rest.

        Raises:
            MigrationRefusedError: the ledger has changed meanwhile.
        """
        done = 0
        for repair in self.ready:
            schemas = repair.cohort.schemas
            for at in range(0, len(schemas), BATCH):
                part = Cohort(
                    repair.cohort.stage,
                    repair.cohort.digest,
                    repair.cohort.version,
                    schemas[at : at + BATCH],
                )
                async with self._conn.transaction():
                    await _apply(self._conn, Repair(part, repair.mend))
                done += len(part.schemas)
        for at in range(0, len(self.gone), BATCH):
            async with self._conn.transaction():
                oids = [one.oid for one in self.gone[at : at + BATCH]]
                await mends.forget(self._conn, oids)
            done += len(oids)
        return done


@asynccontextmanager
async def repairs(
    settings: Settings,
    wanted: Wanted,
    *,
    tenants: Sequence[str] = (),
    forget_gone: bool = False,
) -> AsyncIterator[Repairs]:
    """Yield what *wanted* means for the fleet; nothing else is migrated while the block runs.

    Args:
        settings: where the database and the files are.
        wanted: what is to be put right.
        tenants: slugs, and then the catalog and the shared schema are left alone; empty: all.
        forget_gone: drop what the ledger says of schemas that do not exist.

    Raises:
        RunLockHeldError: a run is migrating this database.
        UnknownTenantError: no tenant has one of the slugs.
        UnknownVersionError: no file has a version that is to be accepted.
        MigrationRefusedError: there is no catalog, or a version to forget still has its file.
        MigrationFileError: a file is refused.
    """
    files = load_all(settings)
    wanted = _spelled(files, wanted)
    _refuse_present(files, wanted)
    async with Session(settings) as session:
        conn = await session.connection()
        if not await checkpoints.exists(conn):
            raise MigrationRefusedError("there is no ledger yet: run `python -m tenancy.migrate`")
        await lock.take_run(conn)
        await _refuse_restored(conn)
        names = None
        if tenants:
            selection = Selection(tenants=tuple(tenants))
            await refuse_unknown(conn, selection, empty=False)
            names = [one.schema for one in await members_of(conn, selection)]
        planned = []
        if wanted != Wanted():
            for cohort in await cohorts(conn, names):
                mend = await _mend(conn, files, cohort, wanted)
                if mend.refusal or mend.needed:
                    planned.append(Repair(cohort, mend))
        yield Repairs(conn, planned, await mends.gone(conn) if forget_gone else ())


async def _refuse_restored(conn: asyncpg.Connection) -> None:
    for one in await identities.strangers(conn):
        if one.stage is Stage.CATALOG and one.new is not None and not one.at_home:
            raise MigrationRefusedError(
                "the database was restored or upgraded, and the ledger has not followed it: first "
                "run `python -m tenancy.migrate repair --restored`"
            )


async def _mend(conn: asyncpg.Connection, files: Files, cohort: Cohort, wanted: Wanted) -> Mend:
    history = await checkpoints.history(conn, cohort.schemas[0].oid)
    if cohort.stage is not Stage.TENANT:
        wanted = replace(wanted, missing=frozenset())
    return mended(files.of(cohort.stage), cohort.digest, history, wanted)


def _spelled(files: Files, wanted: Wanted) -> Wanted:
    """Return *wanted* with the versions as the files have them: leading zeros may be left out."""
    every = [{one.version for one in files.of(stage)} for stage in Stage]
    versions = set[str]()
    for version in wanted.versions:
        meant = {found for known in every if (found := spelled(version, known)) in known}
        if not meant:
            raise UnknownVersionError(f"no file has the version {version!r}: nothing was accepted")
        versions |= meant
    tenants = every[-1]
    missing = frozenset(spelled(version, tenants) for version in wanted.missing)
    return replace(wanted, versions=frozenset(versions), missing=missing)


def _refuse_present(files: Files, wanted: Wanted) -> None:
    there = sorted(wanted.missing & {one.version for one in files.tenant})
    if there:
        raise MigrationRefusedError(
            f"{', '.join(there)}: has its file; only what is missing can be forgotten"
        )


async def _apply(conn: asyncpg.Connection, repair: Repair) -> None:
    cohort, mend = repair.cohort, repair.mend
    before, after = mend.before.baseline, mend.after.baseline
    oids = [schema.oid for schema in cohort.schemas]
    await mends.correct(
        conn,
        oids,
        checksums=mend.checksums,
        forgotten=mend.forgotten,
        baseline=(before, after) if before and after and before != after else None,
    )
    to = Move(cohort.digest, mend.after.digest, mend.after.newest)
    if to.before != to.after or cohort.version != to.version:
        await mends.move(conn, cohort.stage, cohort.schemas, to)
    if cohort.stage is Stage.TENANT:
        said = await mends.comments(conn, oids)
        stamped = [stamp.sql(one, said[one.oid], to) for one in cohort.schemas]
        await conn.execute("; ".join(stamped))
