"""The roles and the database that tenancy expects of a server."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from tenancy import walls
from tenancy.embedded import binaries
from tenancy.embedded.home import default_data_dir, fault
from tenancy.embedded.server import Server, start
from tenancy.errors import EmbeddedServerError
from tenancy.settings import Isolation, Settings

DATABASE = "tenancy"
OWNER = "tenancy_owner"
APP = "tenancy_app"
OWN_TIMEOUT_SECONDS = 5.0

_BOOTSTRAP = f"""
SELECT pg_advisory_lock(7305);  -- another process may be here too
SELECT 'CREATE ROLE {OWNER} LOGIN CREATEROLE NOSUPERUSER'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{OWNER}') \\gexec
SELECT 'CREATE ROLE {APP} LOGIN NOINHERIT NOSUPERUSER NOCREATEROLE NOCREATEDB'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP}') \\gexec
SELECT 'CREATE DATABASE {DATABASE} OWNER {OWNER}'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec
REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;
GRANT CONNECT ON DATABASE {DATABASE} TO {APP};
\\connect {DATABASE}
SELECT pg_advisory_lock(7305);  -- the first went with its connection
REVOKE ALL ON SCHEMA public FROM PUBLIC;
"""


@contextmanager
def configured(settings: Settings, *, own: bool = False) -> Iterator[Settings]:
    """Yield *settings* with a database's addresses: its own, else those of an embedded server.

    That server runs until the block ends, or as long as another process owns it.

    Args:
        settings: with the data directory, where it is not the default one.
        own: wait for another owner to end, and do not build on one that stays: it would take the
            server along when it ends.

    Raises:
        EmbeddedServerError: no address is configured and no server can run here.
    """
    if settings.database_url is not None:
        yield settings
        return
    data_dir = settings.data_dir or default_data_dir()
    server = _own(data_dir) if own else start(data_dir)
    try:
        _bootstrap(server, settings)
        yield settings.model_copy(
            update={
                "database_url": SecretStr(server.url(APP, DATABASE)),
                "admin_database_url": SecretStr(server.url(OWNER, DATABASE)),
            }
        )
    finally:
        server.stop()


def _own(data_dir: Path) -> Server:
    deadline = time.monotonic() + OWN_TIMEOUT_SECONDS
    while not (server := start(data_dir)).owned:
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"another process serves {data_dir}: stop it, choose another directory with "
                "TENANCY_DATA_DIR, or set TENANCY_DATABASE_URL"
            )
        time.sleep(0.1)
    return server


def _bootstrap(server: Server, settings: Settings) -> None:
    psql = binaries.found(server.home) / "psql"
    options = ("-Xwq", "-v", "ON_ERROR_STOP=1", "-d", server.url("postgres", "postgres"))
    text = _BOOTSTRAP
    if settings.isolation is Isolation.STRICT:
        text += walls.sql(DATABASE, owner=OWNER, login=APP)
    done = server.home.run(psql, *options, text=text)
    if done.returncode:
        raise EmbeddedServerError(
            f"the roles of tenancy cannot be made in {server.data_dir}: {fault(done.stderr)}"
        )
