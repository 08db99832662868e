"""A throw-away database, with logins of its own: the only one that a leak check touches."""

import logging
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from tenancy import embedded
from tenancy.errors import DatabaseSetupError, TenancyError
from tenancy.faults import connecting
from tenancy.identifiers import literal, quoted

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One throw-away database and its two logins.

    Attributes:
        owner_url: of the login that owns schemas and roles; no superuser.
        app_url: of the login that requests run as, with no rights of its own.
    """

    database: str
    owner_url: str
    app_url: str

    @property
    def app_login(self) -> str:
        """The name of the login that requests run as."""
        return unquote(urlsplit(self.app_url).username or "")


@contextmanager
def server() -> Iterator[str]:
    """Start an embedded PostgreSQL with nothing in it; yield its superuser's address.

    Raises:
        EmbeddedServerError: none can run here.
    """
    path = Path(tempfile.mkdtemp(prefix="tenancy-leakcheck-"))
    path.chmod(0o755)  # root's server runs as another account
    try:
        running = embedded.start(path / "server")
        try:
            yield running.url("postgres", "postgres")
        finally:
            running.stop()
    finally:
        shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def sandbox(server_url: str) -> AsyncIterator[Sandbox]:
    """Make a database and its logins on the server at *server_url*; drop both at the end.

    Raises:
        SettingsError, DatabaseUnavailableError: as `faults.connecting`.
        DatabaseSetupError: the login may not make databases and roles.
    """
    token = secrets.token_hex(4)
    database, owner, app = (f"leakcheck_{kind}{token}" for kind in ("", "owner_", "app_"))
    password = secrets.token_hex(16)
    made = Sandbox(
        database,
        _at(server_url, owner, password, database),
        _at(server_url, app, password, database),
    )
    conn = await _connect(server_url)
    try:
        await _make(conn, made, owner, app, password)
        yield made
    finally:
        try:
            await _drop(conn, made, _at(server_url, owner, password), owner, app)
        except (TenancyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            # Said, and no more: it must not hide what the run ended with.
            _log.warning("drop database %s, and roles %s and %s: %s", database, owner, app, error)
        await conn.close()


async def _connect(url: str) -> asyncpg.Connection:
    with connecting("--server"):
        return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_SECONDS)


async def _make(
    conn: asyncpg.Connection, made: Sandbox, owner: str, app: str, password: str
) -> None:
    try:
        await conn.execute(
            f"CREATE ROLE {quoted(owner)} LOGIN CREATEROLE PASSWORD {literal(password)}; "
            f"CREATE ROLE {quoted(app)} LOGIN NOINHERIT PASSWORD {literal(password)}; "
            f"GRANT {quoted(owner)} TO CURRENT_USER"
        )
        # Anybody may connect and make temporary tables there, as PostgreSQL has it by default:
        # the application, and not a REVOKE, must hold.
        await conn.execute(f"CREATE DATABASE {quoted(made.database)} OWNER {quoted(owner)}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseSetupError(
            "the login of --server must be a superuser, or have CREATEDB and CREATEROLE"
        ) from error


async def _drop(
    conn: asyncpg.Connection, made: Sandbox, owner_url: str, owner: str, app: str
) -> None:
    await conn.execute(f"DROP DATABASE IF EXISTS {quoted(made.database)} WITH (FORCE)")
    if await conn.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", owner):
        await _drop_roles(owner_url, owner, app)
    await conn.execute(f"DROP ROLE IF EXISTS {quoted(app)}; DROP ROLE IF EXISTS {quoted(owner)}")


async def _drop_roles(url: str, owner: str, app: str) -> None:
    """Drop the tenants' roles: *owner* made them, and may always drop them."""
    conn = await _connect(url)
    try:
        for row in await conn.fetch(
            "SELECT DISTINCT quote_ident(r.rolname) AS role FROM pg_roles r "
            "JOIN pg_auth_members m ON m.roleid = r.oid JOIN pg_roles l ON l.oid = m.member "
            "WHERE l.rolname = ANY($1) AND r.rolname <> ALL($1)",
            [owner, app],
        ):
            await conn.execute(f"DROP ROLE IF EXISTS {row['role']}")
    finally:
        await conn.close()


def _at(url: str, user: str, password: str, database: str | None = None) -> str:
    parts = urlsplit(url)
    netloc = f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"
    path = parts.path if database is None else f"/{database}"
    return urlunsplit((parts.scheme, netloc, path, parts.query, parts.fragment))
