"""Who is behind, since when and why: one query for the whole fleet."""

from collections.abc import Mapping, Sequence

import asyncpg

from tenancy.identifiers import CATALOG_SCHEMA
from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger.records import Backfill, Doubt, Failure, Standing
from tenancy.migrate.ledger.selection import EVERYTHING, Selection

# Every name is qualified: these run under an empty path, and under a tenant's. No column that came
# after 0003 is named, for a catalog that is itself behind is asked too.
_BEHIND = """
    SELECT w.stage, w.slug, w.schema_name, n.oid AS schema_oid, c.version,
           coalesce(c.digest, '') AS digest, coalesce(c.updated_at, w.created_at) AS since,
           f.version AS failed_version, f.sqlstate, f.place, f.message, f.failed_at, f.run_id,
           CASE WHEN coalesce(c.digest, '') = ''
                THEN pg_catalog.obj_description(n.oid, 'pg_namespace') END AS comment
           {columns}
    FROM (
        SELECT s.stage, NULL, s.name, NULL, NULL, NULL
        FROM (VALUES ('catalog', $1::text), ('shared', $2::text)) AS s (stage, name)
        UNION ALL
        SELECT 'tenant', slug, schema_name, state, settings, created_at FROM tenancy.tenants
    ) AS w (stage, slug, schema_name, state, settings, created_at)
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name::name
    LEFT JOIN tenancy.checkpoints AS c ON c.schema_oid = n.oid AND c.schema_name = n.nspname
    LEFT JOIN LATERAL (
        SELECT * FROM tenancy.failures AS x
        WHERE x.schema_oid = n.oid AND (c.updated_at IS NULL OR x.failed_at > c.updated_at)
        ORDER BY x.failed_at DESC LIMIT 1
    ) AS f ON true
    {details}
    WHERE CASE w.stage
              WHEN 'catalog' THEN coalesce(c.digest, '') <> ALL ($3::text[])
              WHEN 'shared' THEN coalesce(c.digest, '') <> ALL ($4::text[]) OR n.oid IS NULL
              ELSE coalesce(c.digest, '') <> ALL ($5::text[]) AND {selected}
                   AND (n.oid IS NOT NULL OR w.state NOT IN ('provisioning', 'deleting'))
          END
      AND w.stage = ANY ($6::text[]) AND ($7::oid[] IS NULL OR n.oid = ANY ($7))
    ORDER BY f.failed_at NULLS FIRST, w.slug
"""


_COLUMNS = """
    , d.version AS doubt_version, d.step, b.version AS backfill_version, b.name AS backfill, b.done,
    b.total
"""
_DETAILS = """
    LEFT JOIN LATERAL (
        SELECT * FROM tenancy.steps AS x
        WHERE x.schema_oid = n.oid AND x.finished_at IS NULL
        ORDER BY x.version, x.step LIMIT 1
    ) AS d ON true
    LEFT JOIN LATERAL (
        SELECT * FROM tenancy.backfills AS x
        WHERE x.schema_oid = n.oid AND x.finished_at IS NULL
        ORDER BY x.version, x.updated_at DESC LIMIT 1
    ) AS b ON true
"""


async def behind(  # noqa: PLR0913 - which schemas, and what of them
    conn: asyncpg.Connection,
    done: Mapping[Stage, Sequence[str]],
    shared: str,
    selection: Selection = EVERYTHING,
    *,
    oids: Sequence[int] | None = None,
    details: bool = False,
) -> list[Standing]:
    """Return the schemas that are not done, in order of their stages; those that failed last.

    The shared schema is among them where it does not exist. A tenant that is being made or deleted
    and has no schema is passed over.

    *done* are, for each stage that is asked for, the digests of schemas that are. With *oids* only
    those schemas are asked for. With *details* each has its doubt and its backfill, where there are
    any, which needs a catalog with the tables for them.
    """
    arguments: list[object] = [
        CATALOG_SCHEMA,
        shared,
        *(list(done.get(stage, ())) for stage in Stage),
        list(done),
        None if oids is None else list(oids),
    ]
    query = _BEHIND.format(
        selected=selection.conditions(arguments),
        columns=_COLUMNS if details else "",
        details=_DETAILS if details else "",
    )
    found = [_standing(row, details=details) for row in await conn.fetch(query, *arguments)]
    return [one for stage in Stage for one in found if one.stage is stage]


async def selects(conn: asyncpg.Connection, selection: Selection) -> bool:
    """Whether there is a tenant that *selection* means, wherever it stands."""
    arguments: list[object] = []
    asked = Selection(
        selection.tenants, selection.exclude, selection.states, where=selection.where
    ).conditions(arguments)
    return bool(
        await conn.fetchval(
            f"SELECT EXISTS (SELECT FROM tenancy.tenants AS w WHERE {asked})", *arguments
        )
    )


async def migrated(conn: asyncpg.Connection, stage: Stage) -> bool:
    """Whether anything was applied to a schema of *stage* that is there."""
    found = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM tenancy.checkpoints AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.schema_oid "
        "WHERE c.stage = $1 AND c.digest <> '')",
        stage,
    )
    return bool(found)


async def unknown_slugs(conn: asyncpg.Connection, slugs: Sequence[str]) -> list[str]:
    """Return those of *slugs* that no tenant has."""
    rows = await conn.fetch("SELECT slug FROM tenancy.tenants WHERE slug = ANY ($1)", list(slugs))
    return sorted(set(slugs) - {row["slug"] for row in rows})


async def versions(conn: asyncpg.Connection) -> list[tuple[Stage, str, int]]:
    """Return how many schemas of each stage stand at each version, of those that are in use."""
    rows = await conn.fetch(
        "SELECT c.stage, c.version, count(*) AS schemas FROM tenancy.checkpoints AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.schema_oid "
        "WHERE c.stage <> 'tenant' OR c.schema_name IN (SELECT schema_name FROM tenancy.tenants) "
        "GROUP BY c.stage, c.version ORDER BY c.stage, c.version"
    )
    return [(Stage(row["stage"]), row["version"], row["schemas"]) for row in rows]


def _standing(row: asyncpg.Record, *, details: bool) -> Standing:
    failure = doubt = backfill = None
    if details and row["step"] is not None:
        doubt = Doubt(row["doubt_version"], row["step"])
    if details and row["backfill"] is not None:
        backfill = Backfill(row["backfill_version"], row["backfill"], row["done"], row["total"])
    if row["failed_at"] is not None:
        failure = Failure(
            row["failed_version"],
            row["place"],
            row["message"],
            row["sqlstate"],
            row["failed_at"],
            run_id=row["run_id"],
        )
    return Standing(
        Stage(row["stage"]),
        row["schema_name"],
        row["schema_oid"],
        row["slug"],
        row["version"],
        row["digest"],
        row["since"],
        failure,
        doubt,
        backfill,
        row["comment"] or "",
    )
