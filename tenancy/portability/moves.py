"""What the database that a tenant leaves knows of its move: all SQL on ``tenancy.moves``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

import asyncpg

from tenancy.errors import MoveError
from tenancy.identifiers import quoted, quoted_login
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.dump import PLACEHOLDER
from tenancy.portability import grants
from tenancy.provision import Administrator, Profile
from tenancy.tenant import State

_PLACE = """
    SELECT s.system_identifier || ' ' || d.oid FROM pg_catalog.pg_control_system() AS s,
        pg_catalog.pg_database AS d WHERE d.datname = current_database()
"""
_STATE = "UPDATE tenancy.tenants SET state = $2, updated_at = now() WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Journey:
    """A tenant's move as it stands.

    Attributes:
        target: of `place`.
        state_before: that the tenant was in.
        rights: who might do what before, see `grants.homeless`.
        fingerprint: of its schema before.
        closed: whether what is there counts.
        finished: whether it is done.
    """

    tenant_id: UUID
    target: str
    state_before: State
    begun_at: datetime
    rights: tuple[str, ...]
    fingerprint: str
    closed: bool
    finished: bool

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        """Return the journey that *row* tells of."""
        return cls(
            *(row["tenant_id"], row["target"], State(row["state_before"]), row["begun_at"]),
            *(tuple(row["rights"]), row["fingerprint"]),
            closed=row["closed_at"] is not None,
            finished=row["finished_at"] is not None,
        )


async def place(conn: asyncpg.Connection) -> str:
    """Return what tells the database of *conn* from every other, whatever it is called."""
    return str(await conn.fetchval(_PLACE))


async def find(conn: asyncpg.Connection, tenant_id: UUID) -> Journey | None:
    """Return the move of the tenant, if there is one."""
    row = await conn.fetchrow("SELECT * FROM tenancy.moves WHERE tenant_id = $1", tenant_id)
    return None if row is None else Journey.of(row)


async def begin(
    admin: Administrator,
    profile: Profile,
    target: str,
    *,
    rights: Sequence[str],
    fingerprint: str,
) -> Journey:
    """Let the tenant be read alone from now on; a move that was interrupted goes on.

    Args:
        admin: of the database that it leaves.
        profile: of the tenant.
        target: of `place`.
        rights: as they are; those of a move that was interrupted stay what they were before that.
        fingerprint: likewise.

    Raises:
        MoveError: its state does not allow it, or it is on its way to another database.
    """
    conn, tenant = admin.connection, profile.tenant
    async with conn.transaction():
        state = (await admin.held(tenant.slug)).tenant.state
        journey = await find(conn, tenant.id)
        if journey is None and state not in {State.ACTIVE, State.READ_ONLY, State.SUSPENDED}:
            raise MoveError(f"{tenant.slug} is {state}: only a tenant at rest can be moved")
        if journey is not None:
            _refuse_other(tenant.slug, journey, target)
        await conn.execute(
            "INSERT INTO tenancy.moves (tenant_id, target, state_before, rights, fingerprint) "
            "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id) DO UPDATE SET closed_at = NULL",
            *(tenant.id, target, state, list(rights), fingerprint),
        )
        if state is State.ACTIVE:
            await conn.execute(_STATE, tenant.id, State.READ_ONLY)
        found = await find(conn, tenant.id)
    if found is None:
        raise MoveError(f"{tenant.slug} is there no more")
    return found


async def close(admin: Administrator, slug: str, schema: SchemaRef, journey: Journey) -> Profile:
    """Let nobody be served here any more, in the caller's transaction.

    The schema is closed too, for a process that has not heard of it.

    Args:
        admin: of the database that it leaves.
        slug: the tenant's.
        schema: its own.
        journey: of `begin`.

    Raises:
        MoveError: somebody has changed its state, or the move, meanwhile.
    """
    conn = admin.connection
    profile = await admin.held(slug)
    suspended = journey.state_before is State.SUSPENDED
    expected = {State.SUSPENDED} if suspended else {State.READ_ONLY, State.SUSPENDED}
    if profile.tenant.id != journey.tenant_id or profile.tenant.state not in expected:
        raise MoveError(f"the state of {slug} was changed during the move: nothing was moved")
    status = await conn.execute(
        "UPDATE tenancy.moves SET closed_at = clock_timestamp() "
        "WHERE tenant_id = $1 AND begun_at = $2 AND closed_at IS NULL",
        *(journey.tenant_id, journey.begun_at),
    )
    if not status.endswith(" 1"):
        raise MoveError(f"the move of {slug} was given up or done by somebody else meanwhile")
    await conn.execute(_STATE, journey.tenant_id, State.SUSPENDED)
    name, is_owner = await admin.rights.grantee(schema.name)
    if not is_owner:
        await conn.execute(
            f"REVOKE USAGE ON SCHEMA {quoted(schema.name)} FROM {quoted_login(name)}"
        )
    return await admin.show(slug)


async def give_up(admin: Administrator, slug: str) -> Profile:
    """Let the tenant be what it was before its move, of which nothing has come.

    In the caller's transaction.

    Raises:
        MoveError: it is not on its way.
    """
    conn = admin.connection
    profile = await admin.held(slug)
    tenant = profile.tenant
    journey = await find(conn, tenant.id)
    if journey is None:
        raise MoveError(f"{slug} is not on its way to another database")
    await _give_back(admin, tenant.schema, journey.rights)
    await conn.execute("DELETE FROM tenancy.moves WHERE tenant_id = $1", tenant.id)
    if tenant.state in {State.READ_ONLY, State.SUSPENDED}:
        await conn.execute(_STATE, tenant.id, journey.state_before)
    return await admin.show(slug)


async def finish(admin: Administrator, profile: Profile) -> None:
    """Note that the tenant has come there; its tables are as they were, in a schema that is closed.

    In the caller's transaction.
    """
    conn, tenant = admin.connection, profile.tenant
    journey = await find(conn, tenant.id)
    if journey is None or journey.finished:
        return
    tables = [one for one in journey.rights if " ON SCHEMA " not in one]
    await _give_back(admin, tenant.schema, tables)
    await conn.execute(
        "UPDATE tenancy.moves SET finished_at = clock_timestamp() WHERE tenant_id = $1", tenant.id
    )


def _refuse_other(slug: str, journey: Journey, target: str) -> None:
    if journey.target != target:
        raise MoveError(
            f"{slug} is on its way to another database, or there already: name that one"
        )
    if journey.finished:
        raise MoveError(
            f"{slug} has come to the other database, and is there no more: what is here is as of "
            f"{journey.begun_at:%Y-%m-%d}; to serve that again, say --abandon"
        )


async def _give_back(admin: Administrator, schema: str, rights: Sequence[str]) -> None:
    """Give whoever requests run as what he had."""
    conn = admin.connection
    name, _ = await admin.rights.grantee(schema)
    await conn.execute(f"SET LOCAL search_path = {quoted(schema)}, pg_temp")
    for statement in rights:
        if statement.startswith("GRANT ") and grants.concerns_grantee(statement):
            text = statement.replace(grants.GRANTEE, quoted_login(name))
            await conn.execute(text.replace(PLACEHOLDER, schema))
    await conn.execute("SET LOCAL search_path = ''")
