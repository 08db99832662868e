"""What is behind in a database; looks, and changes nothing."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import asyncpg

from tenancy.errors import MigrationFileError, MigrationRefusedError, UnknownTenantError
from tenancy.identifiers import CATALOG_SCHEMA
from tenancy.migrate.files.model import Files, Migration, Stage, target
from tenancy.migrate.ledger import baselines, checkpoints, stamp, standings
from tenancy.migrate.ledger.records import Baseline, Standing
from tenancy.migrate.ledger.selection import EVERYTHING, Selection
from tenancy.migrate.plan import chain
from tenancy.migrate.plan.chain import Position, Verdict
from tenancy.migrate.plan.steps import Step, Survey


async def survey(  # noqa: PLR0913 - of which schemas, and how much
    conn: asyncpg.Connection,
    files: Files,
    shared: str,
    selection: Selection = EVERYTHING,
    until: str | None = None,
    *,
    details: bool = False,
) -> Survey:
    """Return what is behind, of all tenants or of a *selection*; where nothing is, by one query.

    *until* is the version at which tenants are to stand; None: the newest. *details* are what a
    status says besides.
    A file that everybody has is not checked again: a long history is not read for nothing.

    Raises:
        MigrationFileError: a file that is pending is refused; with *details* the survey tells it.
    _refuse_restored(found)
    """
    try:
        found = await _standings(conn, files, shared, selection, until, details=details)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return _told(
            _of_nothing(files, shared),
            [*files.catalog, *files.shared, *files.tenant],
            details=details,
        )
    _refuse_restored(found)
    steps = await _steps(conn, files, found, until)
    lacking = any(one.stage is Stage.SHARED and one.oid is None for one in found)
    told = Survey(empty=False, steps=tuple(steps), lacks_shared=lacking)
    return _told(told, _pending(steps), details=details)


async def behind(  # noqa: PLR0913 - which schemas, of which files
    conn: asyncpg.Connection,
    files: Files,
    stage: Stage,
    shared: str,
    selection: Selection = EVERYTHING,
    *,
    until: str | None = None,
    oids: Sequence[int] | None = None,
) -> list[Step]:
    """Return the schemas of *stage* that do not stand at the target; one query when none does."""
    done = {stage: _done(files, until)[stage]}
    found = await standings.behind(conn, done, shared, selection, oids=oids)
    steps = await _steps(conn, files, found, until)
    for migration in _pending(steps):
        migration.check()
    return steps


def _refuse_restored(found: Sequence[Standing]) -> None:
    # The catalog's checkpoint is written with the ledger: without one, the oids are not these.
    if any(one.stage is Stage.CATALOG and one.oid and not one.digest for one in found):
        raise MigrationRefusedError(
            "the ledger knows the schemas by other oids than they have: the database was restored "
            "from a dump, or brought over by pg_upgrade; run "
            "`python -m tenancy.migrate repair --restored`"
        )


def refuse_changed(found: Survey) -> None:
    """Pass if no file has been changed since it was applied.

    Raises:
        MigrationRefusedError: names the files, and how many schemas have them.
    """
    schemas: dict[str, int] = {}
    for step in found.of(Verdict.CHANGED):
        schemas[step.position.reason] = schemas.get(step.position.reason, 0) + 1
    if schemas:
        raise MigrationRefusedError(
            "; ".join(f"{reason} (schemas: {count})" for reason, count in schemas.items())
        )


async def refuse_unknown(
    conn: asyncpg.Connection, selection: Selection, canary: Sequence[str] = (), *, empty: bool
) -> None:
    """Pass if there are tenants that *selection* means, and all that it names, and the *canary*.

    In an *empty* database there is no catalog, so no tenant either.

    Raises:
        UnknownTenantError: names who is not there.
    """
    slugs = [*selection.tenants, *selection.exclude, *canary]
    unknown = slugs if empty else slugs and await standings.unknown_slugs(conn, slugs)
    if unknown:
        raise UnknownTenantError(f"no tenant has the slug {', '.join(unknown)}")
    if not empty and not selection.everything and not await standings.selects(conn, selection):
        raise UnknownTenantError(f"no tenant is {selection}: see `python -m tenancy tenants list`")


async def _standings(  # noqa: PLR0913 - those of a survey
    conn: asyncpg.Connection,
    files: Files,
    shared: str,
    selection: Selection,
    until: str | None,
    *,
    details: bool,
) -> list[Standing]:
    done = _done(files, until)
    if details:
        # A catalog that is itself behind may not have them.
        with contextlib.suppress(asyncpg.UndefinedTableError):
            return await standings.behind(conn, done, shared, selection, details=True)
    return await standings.behind(conn, done, shared, selection)


def _done(files: Files, until: str | None) -> Mapping[Stage, Sequence[str]]:
    """Return the digests of the schemas that have nothing to do."""
    done = {stage: [target(files.of(stage))] for stage in Stage}
    if until is not None:
        # From the newest on: the others are left alone, and asking for them is no work.
        done[Stage.TENANT] = [one.digest for one in reversed(files.tenant) if one.version >= until]
    return done


async def _steps(
    conn: asyncpg.Connection, files: Files, found: Sequence[Standing], until: str | None
) -> list[Step]:
    # One digest is one history, whoever has it; but a baseline of the same files is another, and
    # so is one that only the schema itself tells of.
    positions: dict[tuple[Stage, str, Baseline | None, object], Position] = {}
    bases = await _bases(conn, files, found)
    keys = [
        (one.stage, one.digest, bases.get(one.oid or 0), stamp.read(one.comment)) for one in found
    ]
    for standing, key in zip(found, keys, strict=True):
        if key not in positions:
            position = await _position(conn, files.of(standing.stage), standing)
            positions[key] = _cut(position, until if standing.stage is Stage.TENANT else None)
    steps = [Step(one, positions[key]) for one, key in zip(found, keys, strict=True)]
    return [step for step in steps if step.position.verdict is not Verdict.CURRENT]


def _pending(steps: Sequence[Step]) -> list[Migration]:
    """Return the files that are pending anywhere, each once."""
    return list({one.label: one for step in steps for one in step.position.pending}.values())


def _told(found: Survey, pending: Sequence[Migration], *, details: bool) -> Survey:
    """Return *found* with those of *pending* that are refused, which without *details* raise."""
    unfit: list[tuple[str, str]] = []
    for migration in pending:
        try:
            migration.check()
        except MigrationFileError as error:
            if not details:
                raise
            unfit.append((migration.label, str(error)))
    return replace(found, unfit=tuple(unfit))


async def _bases(
    conn: asyncpg.Connection, files: Files, found: Sequence[Standing]
) -> Mapping[int, Baseline]:
    """Return the baselines of those of *found* whose digest does not tell where they are."""
    passed = {one.previous for one in files.tenant}
    oids = [
        one.oid
        for one in found
        if one.oid and one.stage is Stage.TENANT and one.digest not in passed
    ]
    # A catalog that is itself behind may have none.
    with contextlib.suppress(asyncpg.UndefinedColumnError):
        return await baselines.of(conn, oids) if oids else {}
    return {}


def _cut(position: Position, until: str | None) -> Position:
    """Return *position* as seen from *until*: what comes after that is not pending, nor ahead."""
    if until is None or position.verdict.refused:
        return position
    pending = tuple(one for one in position.pending if one.version <= until)
    if not pending:
        return Position(Verdict.CURRENT)
    return replace(position, pending=pending)


async def _position(
    conn: asyncpg.Connection, migrations: tuple[Migration, ...], standing: Standing
) -> Position:
    if said := stamp.read(standing.comment):
        return chain.restored(said[0])
    if standing.stage is Stage.TENANT and standing.digest and not migrations:
        return chain.emptied()
    found = chain.position(migrations, standing.digest)
    if found is None and standing.oid is not None:
        history = await checkpoints.history(conn, standing.oid)
        found = chain.difference(migrations, standing.digest, history)
    return found or Position(Verdict.BEHIND, migrations)


def _of_nothing(files: Files, shared: str) -> Survey:
    first = (
        Standing(Stage.CATALOG, CATALOG_SCHEMA),
        Standing(Stage.SHARED, shared),
    )
    steps = tuple(
        Step(standing, Position(Verdict.BEHIND, files.of(standing.stage)))
        for standing in first
        if files.of(standing.stage)
    )
    return Survey(empty=True, steps=steps, lacks_shared=True)
