"""A step that lasts longer than one transaction should be open."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tenancy.provision import audit
from tenancy.provision.administrator import Administrator
from tenancy.provision.audit import Outcome
from tenancy.provision.hooks import Event, Moment, Step


@asynccontextmanager
async def begun(  # noqa: PLR0913 - what is done, then how, by name
    admin: Administrator,
    step: Step,
    slug: str,
    *,
    reason: str | None = None,
    detail: Mapping[str, object] | None = None,
    after: bool = True,
) -> AsyncIterator[Event]:
    """Take *step* in the block, outside of any transaction.

    The hooks that may refuse it, and the audit's row that it has begun, are one transaction before
    the block; the other hooks, and the row that it is done, one after it. The block may add to
    ``event.detail``.

    Args:
        admin: who takes it.
        step: which one.
        slug: the tenant's.
        reason: for the audit.
        detail: likewise.
        after: call the hooks that come last in the step's transaction; False: the block does.
    """
    conn = admin.connection
    event = Event(step, slug, admin.actor, conn, None, dict(detail or {}), reason)
    async with admin.noting(event):
        async with conn.transaction():
            event.profile = await admin.show(slug)
            await admin.hooks.run(Moment.BEFORE, event)
            await audit.record(conn, event, Outcome.BEGUN)
        yield event
        async with conn.transaction():
            if after:
                await admin.hooks.run(Moment.AFTER, event)
            await audit.record(conn, event, Outcome.DONE)
    await admin.committed(event)
