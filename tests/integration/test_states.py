"""A tenant's states: where each step leads, and what the audit and the hooks hear of it."""

import asyncio
from typing import Any

import pytest
from support.changes import execute
from support.databases import Database, superuser

from tenancy import Tenancy, provision
from tenancy.errors import HookFailedError, StateConflictError, UnknownTenantError
from tenancy.provision import Administrator, Event, Hooks, Step
from tenancy.provision.states import TRANSITIONS
from tenancy.tenant import State

SERVED = (State.ACTIVE, State.READ_ONLY, State.SUSPENDED)
METHODS = {
    Step.SUSPEND: Administrator.suspend,
    Step.READ_ONLY: Administrator.make_read_only,
    Step.RESUME: Administrator.resume,
}
# Written apart from the code's own table.
LEADS_TO = {Step.SUSPEND: "suspended", Step.READ_ONLY: "read_only", Step.RESUME: "active"}


async def audit(database: Database, *columns: str) -> list[tuple[Any, ...]]:
    async with superuser(database.superuser_url) as conn:
        rows = await conn.fetch(
            f"SELECT {', '.join(columns)} FROM tenancy.audit WHERE action <> 'create' ORDER BY id"
        )
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", METHODS)
async def test_each_step_leads_from_each_state_where_the_table_says(
    database: Database, step: Step, state: State
) -> None:
    await execute(database, f"UPDATE tenancy.tenants SET state = '{state}' WHERE slug = 'acme'")
    async with provision.administrator(database.settings()) as admin:
        before = await admin.show("acme")
        if state not in SERVED:
            with pytest.raises(StateConflictError, match=f"'acme' is {state}"):
                await METHODS[step](admin, "acme")
            assert await admin.show("acme") == before
        else:
            after = await METHODS[step](admin, "acme")
            assert after.tenant.state == LEADS_TO[step]
            assert after == await admin.show("acme")
            # Whoever compares times sees a change where there was one, and none where not.
            assert (after.updated_at == before.updated_at) is (state == LEADS_TO[step])
        assert (await admin.show("globex")).tenant.state is State.ACTIVE
    assert {step for step in Step if step in TRANSITIONS} == set(METHODS)


async def test_the_audit_has_each_step_with_its_reason_and_its_outcome(database: Database) -> None:
    async with provision.administrator(database.settings()) as admin:
        await admin.suspend("acme", reason="not paid")
        await admin.suspend("acme")
        await execute(database, "UPDATE tenancy.tenants SET state = 'deleting'")
        with pytest.raises(StateConflictError):
            await admin.resume("acme")
        with pytest.raises(UnknownTenantError):
            await admin.resume("nobody")
    columns = ("action", "slug", "outcome", "code", "reason", "detail::text")
    assert await audit(database, *columns) == [
        ("suspend", "acme", "done", None, "not paid", '{"from": "active"}'),
        ("suspend", "acme", "done", None, None, '{"from": "suspended", "unchanged": true}'),
        ("resume", "acme", "refused", "state_conflict", None, '{"from": "deleting"}'),
        ("resume", "nobody", "refused", "unknown_tenant", None, "{}"),
    ]


async def test_hooks_hear_of_a_change_and_of_no_other(database: Database) -> None:
    hooks, heard = Hooks(), []

    async def hear(event: Event) -> None:
        heard.append((event.conn is None, str(event.profile and event.profile.tenant.state)))

    hooks.after(Step.SUSPEND)(hear)
    hooks.committed(Step.SUSPEND)(hear)
    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        for _ in range(2):
            await admin.suspend("acme")
    assert heard == [(False, "suspended"), (True, "suspended")]


async def test_a_hook_that_raises_undoes_the_step(database: Database) -> None:
    hooks = Hooks()

    @hooks.after(Step.SUSPEND)
    async def refuse(_: Event) -> None:
        raise PermissionError

    async with provision.administrator(database.settings(), hooks=hooks) as admin:
        with pytest.raises(HookFailedError, match="refuse failed"):
            await admin.suspend("acme")
        assert (await admin.show("acme")).tenant.state is State.ACTIVE
    assert await audit(database, "outcome", "code") == [("failed", "hook_failed")]


async def test_steps_at_once_leave_one_of_their_states(database: Database) -> None:
    async def take(step: Step) -> None:
        async with provision.administrator(database.settings()) as admin:
            await METHODS[step](admin, "acme")

    await asyncio.gather(*(take(step) for step in [*METHODS] * 4))
    rows = await audit(database, "action", "outcome", "detail->>'from'")
    assert len(rows) == 12
    state = "active"  # the audit's order is the order in which they happened
    for action, outcome, before in rows:
        assert (outcome, before) == ("done", state)
        state = LEADS_TO[Step(action)]
    async with Tenancy(settings=database.settings()) as tenancy:
        assert (await tenancy.find("acme")).state == state
