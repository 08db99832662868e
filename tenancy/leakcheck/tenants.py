"""The two canary tenants in the throw-away database, in the application's own layout."""

from pathlib import Path

import asyncpg
from pydantic import SecretStr

from tenancy import migrate, provision
from tenancy.errors import SettingsError
from tenancy.identifiers import literal, quoted_login
from tenancy.leakcheck.canaries import TENANTS, Canaries, Canary
from tenancy.leakcheck.filling import Filler
from tenancy.leakcheck.options import Layout, Options
from tenancy.leakcheck.sandbox import Sandbox
from tenancy.leakcheck.seeds import CanaryTenant
from tenancy.leakcheck.tables import tables
from tenancy.settings import Settings

PUBLIC = "public"


def pointed(settings: Settings, sandbox: Sandbox) -> Settings:
    """Return *settings* with the addresses of *sandbox*."""
    return settings.model_copy(
        update={
            "database_url": SecretStr(sandbox.app_url),
            "admin_database_url": SecretStr(sandbox.owner_url),
        }
    )


async def prepare(
    conn: asyncpg.Connection,
    sandbox: Sandbox,
    settings: Settings,
    options: Options,
    canaries: Canaries,
) -> Filler:
    """Make both tenants with their tables, and fill them, over the owner's connection *conn*.

    Raises:
        SettingsError: a file of the options cannot be read, or its SQL fails.
        TenancyError: as `migrate.migrate` and `provision.Administrator.create`.
    """
    made = await _MAKERS[options.layout](conn, settings, options)
    for tenant in made:
        await _seed(conn, tenant, options, canaries)
    if options.setup is not None:
        await conn.execute(f"SET search_path = {PUBLIC}")
        await options.setup(conn, options.tenants)
    if options.layout is not Layout.TENANCY:
        for schema in {tenant.schema for tenant in made}:
            await _open(conn, schema, sandbox.app_login)
    column = options.tenant_column if options.layout is Layout.ROWS else None
    found = [(tenant, await tables(conn, tenant.schema)) for tenant in made]
    filler = Filler(conn, canaries, found, column)
    await filler.fill()
    return filler


async def _provisioned(
    _: asyncpg.Connection, settings: Settings, options: Options
) -> list[CanaryTenant]:
    (await migrate.migrate(settings)).raise_for_failures()
    async with provision.administrator(settings) as admin:
        made = [(await admin.create(name)).tenant for name in options.tenants]
    return [CanaryTenant(n, tenant.slug, tenant.schema) for n, tenant in enumerate(made)]


async def _in_schemas(
    conn: asyncpg.Connection, _: Settings, options: Options
) -> list[CanaryTenant]:
    made = [CanaryTenant(n, options.tenants[n], options.tenants[n]) for n in TENANTS]
    for tenant in made:
        await conn.execute(f"CREATE SCHEMA {quoted_login(tenant.schema)}")
        await conn.execute(f"SET search_path = {quoted_login(tenant.schema)}, {PUBLIC}")
        for path in options.sql:
            await _run(conn, path, _read(path))
    return made


async def _in_rows(conn: asyncpg.Connection, _: Settings, options: Options) -> list[CanaryTenant]:
    await conn.execute(f"SET search_path = {PUBLIC}")
    for path in options.sql:
        await _run(conn, path, _read(path))
    return [CanaryTenant(n, options.tenants[n], PUBLIC) for n in TENANTS]


_MAKERS = {
    Layout.TENANCY: _provisioned,
    Layout.SCHEMAS: _in_schemas,
    Layout.ROWS: _in_rows,
}


async def _seed(
    conn: asyncpg.Connection, tenant: CanaryTenant, options: Options, canaries: Canaries
) -> None:
    if options.seed_sql is None:
        return
    canary = canaries.text(Canary(tenant.number, options.seed_sql.name))
    text = _read(options.seed_sql)
    for name, value in (("tenant", tenant.name), ("canary", canary)):
        text = text.replace(f":'{name}'", literal(value))
    await conn.execute(f"SET search_path = {quoted_login(tenant.schema)}, {PUBLIC}")
    await _run(conn, options.seed_sql, text)


async def _run(conn: asyncpg.Connection, path: Path, text: str) -> None:
    try:
        await conn.execute(text)
    except asyncpg.PostgresError as error:
        raise SettingsError(f"{path.name} cannot be run: {error.args[0]}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


async def _open(conn: asyncpg.Connection, schema: str, login: str) -> None:
    where, who = quoted_login(schema), quoted_login(login)
    await conn.execute(
        f"GRANT USAGE ON SCHEMA {where} TO {who}; "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {where} TO {who}; "
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {where} TO {who}"
    )
