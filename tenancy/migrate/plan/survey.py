"""What is behind in a database; looks, and changes nothing."""

from collections.abc import Sequence

import asyncpg

from tenancy.errors import MigrationRefusedError, UnknownTenantError
from tenancy.identifiers import CATALOG_SCHEMA
from tenancy.migrate.files.model import Files, Migration, Stage, target
from tenancy.migrate.ledger import checkpoints, standings
from tenancy.migrate.ledger.records import Standing
from tenancy.migrate.plan import chain
from tenancy.migrate.plan.chain import Position, Verdict
from tenancy.migrate.plan.steps import Step, Survey


async def survey(
    conn: asyncpg.Connection, files: Files, shared: str, slugs: Sequence[str] = ()
) -> Survey:
    """Return what is behind, of all tenants or of *slugs* alone.

    Raises:
        UnknownTenantError: no tenant has one of *slugs*.
        MigrationFileError: a file that is pending, or that was never applied, is refused.
    """
    empty = not await checkpoints.exists(conn)
    unknown = list(slugs) if empty else await standings.unknown_slugs(conn, slugs)
    if unknown:
        raise UnknownTenantError(f"no tenant has the slug {', '.join(unknown)}")
    if empty:
        files.check({})
        return _of_nothing(files, shared)
    steps = [step for stage in Stage for step in await behind(conn, files, stage, shared, slugs)]
    versions = tuple(await standings.versions(conn))
    # A file that was applied anywhere has been checked; a long history is not read for nothing.
    files.check({stage: version for stage, version, _ in sorted(versions)})
    return Survey(empty=False, steps=tuple(steps), versions=versions)


async def behind(
    conn: asyncpg.Connection, files: Files, stage: Stage, shared: str, slugs: Sequence[str] = ()
) -> list[Step]:
    """Return the schemas of *stage* that do not stand at the target; one query when none does."""
    migrations = files.of(stage)
    if stage is Stage.TENANT:
        found = await standings.tenants_behind(conn, target(migrations), slugs)
    else:
        name = CATALOG_SCHEMA if stage is Stage.CATALOG else shared
        found = await standings.schema_behind(conn, stage, name, target(migrations))
    positions: dict[str, Position] = {}  # one digest is one history, whichever schema has it
    for standing in found:
        if standing.digest not in positions:
            positions[standing.digest] = await _position(conn, migrations, standing)
    return [Step(standing, positions[standing.digest]) for standing in found]


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


async def _position(
    conn: asyncpg.Connection, migrations: tuple[Migration, ...], standing: Standing
) -> Position:
    found = chain.position(migrations, standing.digest)
    if found is None and standing.oid is not None:
        history = await checkpoints.history(conn, standing.oid)
        found = chain.difference(migrations, standing.digest, history)
    found = found or Position(Verdict.BEHIND, migrations)
    for migration in found.pending:
        migration.check()
    return found


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
    return Survey(empty=True, steps=steps)
