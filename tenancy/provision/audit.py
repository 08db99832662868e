"""Who did what to which tenant, when, from where, with what outcome. Rows are only ever added."""

import json
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg

from tenancy.provision.hooks import Event, Step


class Outcome(StrEnum):
    """How a step ended."""

    BEGUN = "begun"  # of one that takes several transactions
    DONE = "done"
    REFUSED = "refused"  # by us: a name that is taken, a state that does not allow it
    FAILED = "failed"  # by the server, a hook, a fault, or an interruption
    UNKNOWN = "unknown"  # the server never said what became of the COMMIT


PAGE = 50

_COLUMNS = """
    SELECT id, at, actor, source, login, action, tenant_id, slug, outcome, code, reason,
           detail::text AS detail
    FROM tenancy.audit
"""
_ENTRIES = """
    WHERE ($1::uuid IS NULL OR tenant_id = $1)
      AND ($2::text IS NULL OR slug = $2)
      AND ($3::text IS NULL OR action = $3)
      AND ($4::text IS NULL OR actor = $4)
      AND ($5::text IS NULL OR outcome = $5)
      AND ($6::timestamptz IS NULL OR at >= $6)
      AND ($7::bigint IS NULL OR id < $7)
    ORDER BY id DESC LIMIT $8
"""
# Of the tenant that has the slug, else of the one that had it last.
_HISTORY = """
    WHERE (tenant_id = coalesce(
              (SELECT id FROM tenancy.tenants WHERE slug = $1),
              (SELECT tenant_id FROM tenancy.audit WHERE slug = $1 AND tenant_id IS NOT NULL
               ORDER BY id DESC LIMIT 1))
           OR tenant_id IS NULL AND slug = $1)
      AND ($2::bigint IS NULL OR id < $2)
    ORDER BY id DESC LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the audit says of one step.

    Attributes:
        id: greater than those of rows written before; a page begins below one.
        at: with a time zone.
        actor, source: on whose behalf, and from where; see `Actor`.
        login: of the database.
        action: a `Step`.
        tenant_id: None where there was no tenant, or none yet.
        slug: as it was asked for.
        outcome: how it ended.
        code: of the error that ended it.
        reason: in the actor's words.
        detail: what else was asked for.
    """

    id: int
    at: datetime
    actor: str
    source: str
    login: str
    action: str
    tenant_id: UUID | None
    slug: str | None
    outcome: Outcome
    code: str | None
    reason: str | None
    detail: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "actor": self.actor,
            "source": self.source,
            "login": self.login,
            "action": self.action,
            "tenant_id": self.tenant_id and str(self.tenant_id),
            "slug": self.slug,
            "outcome": str(self.outcome),
            "code": self.code,
            "reason": self.reason,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries to return; what is None excludes nothing.

    Attributes:
        tenant_id: of this tenant, whatever it was called.
        slug: asked for by this name, whoever had it.
        action: a `Step`.
        actor: on whose behalf.
        outcome: that ended so.
        since: then or later; with a time zone.
        before: the last id of the page before this one.
        limit: entries at most.
    """

    tenant_id: UUID | None = None
    slug: str | None = None
    action: str | None = None
    actor: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    before: int | None = None
    limit: int = PAGE


ALL = Wanted()


async def entries(conn: asyncpg.Connection, wanted: Wanted = ALL) -> tuple[Entry, ...]:
    """Return what was recorded, the newest first.

    Args:
        conn: of the owner of schemas.
        wanted: which entries.
    """
    given = (getattr(wanted, field.name) for field in fields(wanted))
    return tuple(map(_entry, await conn.fetch(_COLUMNS + _ENTRIES, *given)))


async def history(
    conn: asyncpg.Connection, slug: str, *, before: int | None = None, limit: int = PAGE
) -> tuple[Entry, ...]:
    """Return what was recorded of the tenant that has *slug*, or had it last, newest first.

    And what was asked for by this slug where there was no tenant.

    Args:
        conn: of the owner of schemas.
        slug: the tenant's.
        before: the last id of the page before this one.
        limit: entries at most.
    """
    return tuple(map(_entry, await conn.fetch(_COLUMNS + _HISTORY, slug, before, limit)))


def _entry(row: asyncpg.Record) -> Entry:
    members = dict(row)
    members["outcome"] = Outcome(row["outcome"])
    members["detail"] = json.loads(row["detail"])
    return Entry(**members)


# What did not take place is about the tenant that there is, not about one that would have been.
_RECORD = """
    INSERT INTO tenancy.audit
        (actor, source, action, tenant_id, slug, outcome, code, reason, detail)
    VALUES ($1, $2, $3,
            CASE WHEN $6::text IN ('begun', 'done') THEN $4::uuid
                 ELSE (SELECT id FROM tenancy.tenants
                       WHERE id = $4 OR $4 IS NULL AND slug = $5 AND NOT $10::boolean) END,
            $5::text, $6, $7, $8, $9::jsonb)
    RETURNING pg_catalog.pg_current_xact_id()::text
"""
_MAKING = frozenset({Step.CREATE, Step.ADOPT, Step.IMPORT})


async def record(
    conn: asyncpg.Connection, event: Event, outcome: Outcome, code: str | None = None
) -> None:
    """Add what became of *event*, in the open transaction of *conn* if there is one.

    Args:
        conn: of the owner of schemas.
        event: the step.
        outcome: how it ended.
        code: of the error, where one ended it.
    """
    tenant = event.profile.tenant if event.profile is not None else None
    transaction = await conn.fetchval(
        _RECORD,
        event.actor.name,
        event.actor.source,
        event.step,
        tenant and tenant.id,
        event.slug or None,
        outcome,
        code,
        event.reason,
        json.dumps(event.detail),
        event.step in _MAKING,
    )
    if outcome is Outcome.DONE:
        event.done_in = transaction
