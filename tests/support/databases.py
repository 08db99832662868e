"""Throw-away databases on the server the tests run against."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from pydantic import SecretStr

from tenancy import Settings, Tenancy, provision
from tenancy.settings import Pooler

SQL = Path(__file__).parents[2] / "sql"
PASSWORD = secrets.token_hex(8)

Open = Callable[..., AbstractAsyncContextManager[Tenancy]]


def at(url: str, *, user: str | None = None, database: str | None = None) -> str:
    """Return *url* with another login or database; the test's logins share one password."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if user is not None:
        netloc = f"{user}:{PASSWORD}@{netloc.rpartition('@')[2]}"
    path = parts.path if database is None else f"/{database}"
    return urlunsplit((parts.scheme, netloc, path, parts.query, parts.fragment))


@dataclass(frozen=True)
class Logins:
    """Two logins with exactly the rights that the README asks for, and none of a superuser's."""

    owner: str
    app: str


@dataclass(frozen=True)
class Database:
    """One database and its three addresses."""

    name: str
    superuser_url: str
    admin_url: str
    app_url: str
    pooled: bool = False

    def settings(self, **overrides: object) -> Settings:
        values: dict[str, object] = {
            "database_url": SecretStr(self.app_url),
            "admin_database_url": SecretStr(self.admin_url),
            "sql_dir": SQL,
            "require_durability": False,
            "pool_min_size": 1,
            "pool_max_size": 4,
            "base_domains": ("example.com",),
        }
        if self.pooled and overrides.get("database_url") != self.superuser_url:
            values["pooler"] = Pooler.TRANSACTION
        return Settings(**{**values, **overrides})  # type: ignore[arg-type]


# Roles of tenants, which nothing in any database depends on.
_ORPHANS = """
    SELECT rolname::text AS name FROM pg_roles AS r
    WHERE rolname ~ '^t_[a-z0-9_]+$' AND NOT EXISTS (
        SELECT FROM pg_shdepend AS d
        WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.dbid <> 0)
"""


@asynccontextmanager
async def superuser(url: str) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(url)
    try:
        yield conn
    finally:
        await conn.close()


async def let_everybody_make_temporary_tables(database: Database) -> None:
    """As on a server where nobody took that right from PUBLIC: the gate alone must hold."""
    async with superuser(database.superuser_url) as conn:
        await conn.execute(f"GRANT TEMPORARY ON DATABASE {database.name} TO PUBLIC")


async def make_logins(url: str) -> Logins:
    suffix = secrets.token_hex(4)
    logins = Logins(f"test_owner_{suffix}", f"test_app_{suffix}")
    async with superuser(url) as conn:
        await conn.execute(
            f"CREATE ROLE {logins.owner} LOGIN CREATEROLE PASSWORD '{PASSWORD}'; "
            f"CREATE ROLE {logins.app} LOGIN NOINHERIT PASSWORD '{PASSWORD}'"
        )
    return logins


async def drop_logins(url: str, logins: Logins) -> None:
    async with superuser(url) as conn:
        # Tenants' roles were made by the owner; on 16 and later that is recorded as a membership.
        for row in await conn.fetch(
            "SELECT DISTINCT r.rolname FROM pg_roles r JOIN pg_auth_members m ON m.roleid = r.oid "
            "JOIN pg_roles l ON l.oid = m.member WHERE l.rolname = ANY($1)",
            [logins.owner, logins.app],
        ):
            await conn.execute(f'DROP ROLE IF EXISTS "{row["rolname"]}"')
        await conn.execute(f"DROP ROLE IF EXISTS {logins.app}; DROP ROLE IF EXISTS {logins.owner}")


async def make_database(url: str, logins: Logins, template: str = "template0") -> Database:
    name = f"test_{secrets.token_hex(6)}"
    async with superuser(url) as conn:
        await conn.execute(f"CREATE DATABASE {name} OWNER {logins.owner} TEMPLATE {template}")
        await conn.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        await conn.execute(f"GRANT CONNECT ON DATABASE {name} TO {logins.app}")
    return Database(
        name,
        at(url, database=name),
        at(url, user=logins.owner, database=name),
        at(url, user=logins.app, database=name),
    )


async def raise_walls(database: Database) -> None:
    """Run what `python -m tenancy walls` prints, as the superuser."""
    async with provision.administrator(database.settings()) as admin:
        text = await admin.walls()
    async with superuser(database.superuser_url) as conn:
        await conn.execute(text)


async def drop_database(url: str, database: Database) -> None:
    """Drop it, and the tenants' roles that were of no other: a server's databases share them."""
    async with superuser(url) as conn:
        await conn.execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")
        for row in await conn.fetch(_ORPHANS):
            with suppress(asyncpg.PostgresError):  # somebody else has found it too
                await conn.execute(f'DROP ROLE IF EXISTS "{row["name"]}"')
