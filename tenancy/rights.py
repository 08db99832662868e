"""What requests may do in the database: the rights of a tenant's role, and of their login.

A tenant's role reads and writes rows, and no more: with TRIGGER or CREATE it could plant a function
that the migrator, who owns the tables, would run.
"""

import logging

import asyncpg

from tenancy import identifiers
from tenancy.errors import DatabaseSetupError
from tenancy.identifiers import CATALOG_SCHEMA, quoted
from tenancy.preflight import CATALOG_TABLES, ROLE_OPTIONS_SINCE
from tenancy.settings import Settings

_log = logging.getLogger(__name__)

_ROLE = "SELECT true FROM pg_roles WHERE rolname = $1"


class Rights:
    """Grants, over one connection of the login that owns schemas and roles.

    Args:
        conn: of that login.
        settings: the isolation level decides who is granted what.
        login: whom requests connect as.
    """

    def __init__(self, conn: asyncpg.Connection, settings: Settings, login: str) -> None:
        self._conn = conn
        self._settings = settings
        self._login = login

    async def open_schema(self, schema: str, *, new: bool = False) -> None:
        """Let whoever requests run as into *schema*, with rights on all its tables to come.

        Args:
            schema: checked.
            new: its role must not be there yet: another's would have other rights, and members.

        Raises:
            asyncpg.DuplicateObjectError: a *new* schema's role is there.
        """
        grantee = self._grantee(schema)
        defaults = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {quoted(schema)} GRANT"
        statements = [
            f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {grantee}",
            f"{defaults} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {grantee}",
            f"{defaults} USAGE, SELECT ON SEQUENCES TO {grantee}",
        ]
        if self._settings.isolation.sets_role:
            there = not new and await self._conn.fetchval(_ROLE, schema)
            statements = [*self._role(schema, there=there), *statements]
        await self._conn.execute("; ".join(statements))

    async def open_tables(self, schema: str) -> None:
        """Give them rights on the tables that *schema* has already."""
        grantee = self._grantee(schema)
        await self._conn.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {quoted(schema)} "
            f"TO {grantee}; "
            f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {quoted(schema)} TO {grantee}"
        )

    async def grantee(self, schema: str) -> tuple[str, bool]:
        """Return the role that has rights on *schema*, and whether it is this login itself."""
        name = schema if self._settings.isolation.sets_role else self._login
        return name, name == await self._conn.fetchval("SELECT current_user::text")

    async def open_catalog(self) -> None:
        """Let the login of requests read the registry, unless it may."""
        missing = await self._conn.fetch(
            "SELECT name FROM unnest($1::text[]) AS name "
            "WHERE NOT has_schema_privilege($2, $3, 'USAGE') "
            "OR NOT has_table_privilege($2, $3 || '.' || name, 'SELECT')",
            CATALOG_TABLES,
            self._login,
            CATALOG_SCHEMA,
        )
        if missing:  # a GRANT that changes nothing still fails beside another one
            tables = ", ".join(f"{CATALOG_SCHEMA}.{name}" for name in CATALOG_TABLES)
            await self._conn.execute(
                f"GRANT USAGE ON SCHEMA {CATALOG_SCHEMA} TO {self._quoted_login}; "
                f"GRANT SELECT ON {tables} TO {self._quoted_login}"
            )

    async def drop_role(self, role: str) -> bool:
        """Drop the role of a tenant whose schema is gone, with its rights and memberships.

        In the caller's transaction. It stays where the server needs it for something that is not
        this database's, and, at level ``schema``, where this login may not drop roles.

        Returns:
            Whether there is no such role any more.

        Raises:
            DatabaseSetupError: this login may not drop it; says what to grant.
        """
        if not await self._conn.fetchval(_ROLE, role):
            return True
        try:
            async with self._conn.transaction():
                await self._become(role)  # or its rights could not be taken from it
                await self._conn.execute(f"DROP OWNED BY {quoted(role)}")
                await self._conn.execute(f"DROP ROLE {quoted(role)}")
        except asyncpg.DependentObjectsStillExistError as error:
            _log.warning("the role %s stays: %s", role, error.args[0])
            return False
        except asyncpg.InsufficientPrivilegeError as error:
            if self._settings.isolation.sets_role:
                raise DatabaseSetupError(
                    f"the login may not drop the role {role}: as a superuser run GRANT {role} TO "
                    "<login> WITH ADMIN OPTION, and purge the tenant again"
                ) from error
            _log.warning("the role %s stays: %s", role, error.args[0])
            return False
        return True

    def lacking(self) -> DatabaseSetupError:
        """Return the error for a login of migrations that may not do all this: what to grant it."""
        roles = ""
        if self._settings.isolation.sets_role:
            roles = (
                " and roles; as a superuser run ALTER ROLE <login> CREATEROLE, or fall back to "
                "TENANCY_ISOLATION=schema, where mistakes are stopped and attackers are not"
            )
        if self._settings.unset_owner:
            return DatabaseSetupError(f"the login lacks a right: {self._settings.unset_owner}")
        return DatabaseSetupError(
            "the login of TENANCY_ADMIN_DATABASE_URL must own the registry and be allowed to "
            f"create schemas (GRANT CREATE ON DATABASE <database> TO <login>){roles}"
        )

    def _role(self, name: str, *, there: bool) -> list[str]:
        how = ""
        if self._conn.get_server_version().major >= ROLE_OPTIONS_SINCE:
            how = " WITH INHERIT FALSE, SET TRUE"
        made = [] if there else [f"CREATE ROLE {quoted(name)} NOLOGIN NOINHERIT"]
        return [*made, f"GRANT {quoted(name)} TO {self._quoted_login}{how}"]

    async def _become(self, role: str) -> None:
        how = ""
        if self._conn.get_server_version().major >= ROLE_OPTIONS_SINCE:
            how = " WITH INHERIT TRUE"
        await self._conn.execute(f"GRANT {quoted(role)} TO CURRENT_USER{how}")

    def _grantee(self, schema: str) -> str:
        if self._settings.isolation.sets_role:
            return quoted(schema)
        return self._quoted_login

    @property
    def _quoted_login(self) -> str:
        return identifiers.quoted_login(self._login)
