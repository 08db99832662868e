"""The connection that a tenant is read by."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tenancy.errors import NotPortableError
from tenancy.faults import connecting
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.upgrade import lock
from tenancy.provision import Administrator, Profile
from tenancy.settings import Settings, variable

CONNECT_TIMEOUT_SECONDS = 10.0

# As pg_dump sets them, so that every value is written in the form that any server reads.
FORMS = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
}
_SESSION = {
    "application_name": "tenancy export",
    "search_path": "",
    "default_transaction_read_only": "on",
    "row_security": "off",  # an error is better than rows left out
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    **FORMS,
}


@asynccontextmanager
async def locked(
    admin: Administrator, profile: Profile
) -> AsyncIterator[tuple[asyncpg.Connection, SchemaRef]]:
    """Yield a connection for `seen`, and the tenant's schema, to which no file is applied.

    Raises:
        LockHeldError, NotPortableError and others: as `living`.
    """
    conn = await _connected(admin.settings)
    try:
        schema = await checkpoints.schema(conn, profile.tenant.schema)
        if schema is None:
            raise NotPortableError(f"the tenant {profile.tenant.slug} has no schema")
        async with lock.held(conn, schema.oid):
            yield conn, schema
    finally:
        with contextlib.suppress(Exception):  # it was only read
            await conn.close(timeout=CONNECT_TIMEOUT_SECONDS)


async def _connected(settings: Settings) -> asyncpg.Connection:
    name = "admin_database_url" if settings.admin_database_url else "database_url"
    with connecting(variable(name)):
        return await asyncpg.connect(
            settings.admin_dsn,
            timeout=CONNECT_TIMEOUT_SECONDS,
            statement_cache_size=0,
            server_settings=_SESSION,
        )
