"""The two databases of a move."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from tenancy.errors import DatabaseSetupError, DatabaseUnavailableError, MoveError
from tenancy.portability import moves
from tenancy.portability.quiet import WAIT_SECONDS
from tenancy.provision import Actor, Administrator, Hooks, administrator
from tenancy.settings import Settings


@asynccontextmanager
async def both(
    settings: Settings, target: Settings, actor: Actor | None, hooks: Hooks | None
) -> AsyncIterator[tuple[Administrator, Administrator]]:
    """Yield who does the work in the deployment of *settings*, and who does in that of *target*.

    Raises:
        DatabaseSetupError, DatabaseUnavailableError: as `provision.administrator`; says of which.
    """
    async with administrator(settings, actor=actor, hooks=hooks) as here:
        other = administrator(target, actor=actor, hooks=hooks)
        try:
            there = await other.__aenter__()
        except (DatabaseSetupError, DatabaseUnavailableError) as error:
            raise type(error)(f"of the database that the tenant is to come to: {error}") from error
        try:
            yield here, there
        finally:
            await other.__aexit__(None, None, None)


async def elsewhere(here: Administrator, there: Administrator) -> str:
    """Return the place of *there*, see `moves.place`.

    Raises:
        MoveError: it is the same database.
    """
    place = await moves.place(there.connection)
    if place == await moves.place(here.connection):
        raise MoveError("the tenant is in that database already: to copy it, see `tenants clone`")
    return place


async def is_there(there: Administrator, tenant_id: UUID) -> bool:
    """Whether the tenant is there, also by a transaction that is being committed just now.

    Raises:
        MoveError: somebody registers tenants there for a long time.
    """
    conn = there.connection
    try:
        async with conn.transaction():
            await conn.execute(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
            await conn.execute("LOCK TABLE tenancy.tenants IN SHARE MODE")
            return bool(
                await conn.fetchval("SELECT true FROM tenancy.tenants WHERE id = $1", tenant_id)
            )
    except asyncpg.LockNotAvailableError as error:
        raise MoveError(
            "it is not known whether the tenant is in the other database, for somebody makes "
            f"tenants there and is not done after {WAIT_SECONDS} s: try again"
        ) from error
