"""Who did what to which tenant, when, from where, with what outcome. Rows are only ever added."""

import json
from enum import StrEnum

import asyncpg

from tenancy.provision.hooks import Event


class Outcome(StrEnum):
    """How a step ended."""

    BEGUN = "begun"  # of one that takes several transactions
    DONE = "done"
    REFUSED = "refused"  # by us: a name that is taken, a state that does not allow it
    FAILED = "failed"  # by the server, a hook, or a fault


_RECORD = """
    INSERT INTO tenancy.audit
        (actor, source, action, tenant_id, slug, outcome, code, reason, detail)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb)
"""


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
    await conn.execute(
        _RECORD,
        event.actor.name,
        event.actor.source,
        event.step,
        tenant and tenant.id,
        event.slug,
        outcome,
        code,
        event.reason,
        json.dumps(event.detail),
    )
