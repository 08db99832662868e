"""Everything that can be done to tenants, over one connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tenancy import faults
from tenancy.errors import DatabaseSetupError
from tenancy.pool.connect import connect
from tenancy.provision.actor import Actor
from tenancy.provision.creating import Creating
from tenancy.provision.domains import Domains
from tenancy.provision.granting import Granting
from tenancy.provision.hooks import Hooks
from tenancy.provision.hooks import load as load_hooks
from tenancy.provision.names import Names
from tenancy.provision.removal import Removing
from tenancy.provision.reporting import Reporting
from tenancy.provision.states import States
from tenancy.provision.tokens import Tokens
from tenancy.settings import Settings

# Its name, and the server's birthday: alike only if both connections are in the same one.
_WHICH_DATABASE = "SELECT pg_catalog.concat(current_database(), ' ', pg_postmaster_start_time())"


class Administrator(Creating, Domains, Granting, Names, Removing, Reporting, States, Tokens):
    """Operations on tenants, over one connection; not for two tasks at once."""


@asynccontextmanager
async def administrator(
    settings: Settings, *, actor: Actor | None = None, hooks: Hooks | None = None
) -> AsyncIterator["Administrator"]:
    """Connect as the login that owns schemas and roles, and find out whom requests run as.

    Args:
        settings: of the deployment.
        actor: on whose behalf, for the audit; by default the account that this process runs as.
        hooks: what is to be done at each step; by default those of TENANCY_HOOKS.

    Raises:
        SettingsError: TENANCY_HOOKS names none.
        DatabaseUnavailableError: the server does not answer.
        DatabaseSetupError: it refuses a login, or has no catalog that the block could read.
    """
    if hooks is None:
        hooks = load_hooks(settings.hooks)
    conn = await connect(settings, as_admin=True)
    try:
        login = await login_of_requests(settings, conn)
        with faults.reading_catalog():
            yield Administrator(conn, settings, login, actor=actor, hooks=hooks)
    finally:
        await conn.close()


async def login_of_requests(settings: Settings, admin: asyncpg.Connection) -> str:
    """Return whom requests run as, in the database that *admin* is connected to.

    Raises:
        DatabaseUnavailableError, DatabaseSetupError: as `administrator`.
    """
    database = await admin.fetchval(_WHICH_DATABASE)
    conn = await connect(settings, as_admin=False)
    try:
        if await conn.fetchval(_WHICH_DATABASE) != database:
            raise DatabaseSetupError(
                "TENANCY_DATABASE_URL and TENANCY_ADMIN_DATABASE_URL lead to different databases"
            )
        return str(await conn.fetchval("SELECT session_user::text"))
    finally:
        await conn.close()
