"""What is pending for some tenants, tried where nothing of it stays."""

from collections.abc import Sequence

import asyncpg

from tenancy.errors import MigrationRefusedError
from tenancy.migrate.files.folder import load_all
from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.selection import Selection
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Step as Behind
from tenancy.migrate.plan.steps import Survey
from tenancy.migrate.plan.survey import refuse_unknown, survey
from tenancy.migrate.rehearsal.records import How, Rehearsal
from tenancy.migrate.rehearsal.stand import Stand
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

LIMIT_SECONDS = 30.0

_SIZES = """
    SELECT n.nspname::text AS name, coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)
    FROM pg_catalog.pg_namespace AS n
    LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'm')
    WHERE n.nspname = ANY ($1::text[]) GROUP BY n.nspname ORDER BY 2 DESC, 1 LIMIT $2
"""


async def rehearse(
    settings: Settings,
    *,
    how: How = How.CLONE,
    tenants: Sequence[str] = (),
    sample: int | None = None,
    limit_seconds: float = LIMIT_SECONDS,
) -> tuple[Rehearsal, ...]:
    """Return what became of the pending files of some tenants; nothing of it stays.

    Args:
        settings: where the database and the files are.
        how: in a clone of the structure, or rolled back in the tenant's own schema. There its locks
            are taken, and held to the end of all files.
        tenants: slugs; empty: the first that is behind.
        sample: how many instead, the largest first.
        limit_seconds: how long locks may be held in a tenant's own schema.

    Raises:
        MigrationFileError: a file is refused.
        MigrationRefusedError: there is something to be put right, or to be applied, before.
        NotReplayableError: no clone can be made; rolled back it may go.
        LockHeldError: somebody is migrating a tenant that was to be rolled back.
        UnknownTenantError: no tenant has one of the slugs.
        DatabaseUnavailableError, DatabaseSetupError, SettingsError: it cannot be reached or used.
    """
    files = load_all(settings)
    async with Session(settings) as session:
        conn = await session.connection()
        selection = Selection(tenants=tuple(tenants))
        found = await survey(conn, files, settings.shared_schema, selection)
        await refuse_unknown(conn, selection, empty=found.empty)
        _refuse(found, how, named=bool(tenants))
        chosen = await _chosen(conn, found, tenants, sample)
        rehearsals = []
        for behind in chosen:
            stand = Stand(settings, session, files, found, behind)
            tried = stand.clone() if how is How.CLONE else stand.rolled_back(limit_seconds)
            rehearsals.append(await tried)
        return tuple(rehearsals)


def _refuse(found: Survey, how: How, *, named: bool) -> None:
    late = {step.standing.stage for step in found.of(Verdict.BEHIND)}
    for step in found.refused:
        # What is wrong with one tenant alone is no reason not to try another one.
        if named or Stage.TENANT not in late or step.position.verdict is not Verdict.DAMAGED:
            raise MigrationRefusedError(
                f"{step.standing.named}: {step.position.reason}; `plan` says more, and it has to "
                "be put right first"
            )
    if found.empty or Stage.CATALOG in late:
        raise MigrationRefusedError("the catalog is behind: run `python -m tenancy.migrate up`")
    if Stage.SHARED in late and how is How.CLONE:
        raise MigrationRefusedError(
            "files of the shared stage are pending, and the clone is of a tenant's schema alone: "
            "say --rolled-back, which tries them too, or apply them first"
        )


async def _chosen(
    conn: asyncpg.Connection, found: Survey, tenants: Sequence[str], sample: int | None
) -> list[Behind]:
    behind = {
        step.standing.name: step
        for step in found.of(Verdict.BEHIND)
        if step.standing.stage is Stage.TENANT and step.standing.oid is not None
    }
    if sample is not None:
        rows = await conn.fetch(_SIZES, list(behind), sample)
        return [behind[row["name"]] for row in rows]
    return list(behind.values()) if tenants else list(behind.values())[:1]
