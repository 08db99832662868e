"""PgBouncer in front of the server under test, with the shipped configuration."""

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from support.databases import PASSWORD, Database, Logins, superuser
from support.processes import free_port
from tenancy import Settings
from tenancy.pool import pooler

CONFIG = Path(__file__).parents[2] / "config" / "pgbouncer.ini"
POOL_SIZE = 2
START_SECONDS = 10
ABSENT = "pgbouncer is not installed: apt-get install pgbouncer"


def binary() -> str | None:
    """Where it is; Debian's is outside of an ordinary user's path."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def written(text: str, **values: object) -> str:
    """Return the configuration *text* with other values for keys that it has."""
    for key, value in values.items():
        text, found = re.subn(rf"^{key} = ?.*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert found == 1, key
    return text


@contextmanager
def pgbouncer(folder: Path, server_url: str, logins: Logins, **overrides: object) -> Iterator[str]:
    """Run it with a server connection pool of two; yield host and port.

    Args:
        folder: where its files go; the account that runs it can enter.
        server_url: of the server behind it.
        logins: who may log in, with the tests' password.
        overrides: values that differ from the shipped configuration's.
    """
    program = binary()
    assert program is not None
    folder.mkdir()
    port = free_port()
    users = folder / "userlist.txt"
    users.write_text("".join(f'"{n}" "{PASSWORD}"\n' for n in (logins.app, logins.owner)))
    values = {
        "listen_port": port,
        "auth_file": users,
        "logfile": folder / "log",
        "pidfile": folder / "pid",
        "default_pool_size": POOL_SIZE,
        **overrides,
    }
    text = written(CONFIG.read_text(), **values)
    text = re.sub(r"^notes = .*$", f"* = {_server(server_url)}", text, flags=re.MULTILINE)
    config = folder / "pgbouncer.ini"
    config.write_text(text)
    account = _account(server_url)
    if account:
        for path in (folder, users, config):
            os.chown(path, account.pw_uid, account.pw_gid)
    process = subprocess.Popen(
        [program, "-q", config],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
    )
    try:
        _await(folder / "log", process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def through(url: str, address: str) -> str:
    """Return *url* at the pooler's *address*."""
    parts = urlsplit(url)
    netloc = f"{parts.netloc.rpartition('@')[0]}@{address}"
    return urlunsplit((parts.scheme, netloc, parts.path, "sslmode=disable", ""))


def behind(database: Database, address: str) -> Database:
    """Return *database* with its requests going through the pooler at *address*."""
    return replace(database, app_url=through(database.app_url, address), pooled=True)


async def give_defaults(
    server_url: str, database: Database, login: str, settings: Settings | None = None
) -> None:
    """Run what the doctor prints for a login behind a pooler."""
    wanted = pooler.session(settings or database.settings())
    async with superuser(server_url) as conn:
        for name, value in wanted.items():
            await conn.execute(pooler.default_sql(login, database.name, name, value))


def _server(url: str) -> str:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = query["host"][0] if "host" in query else unquote(parts.hostname or "127.0.0.1")
    return f"host={host} port={query.get('port', [str(parts.port or 5432)])[0]}"


def _account(url: str) -> pwd.struct_passwd | None:
    """Who runs it for root, whom it refuses: who may enter the server's socket directory."""
    if os.geteuid():
        return None
    host = parse_qs(urlsplit(url).query).get("host", [""])[0]
    if host.startswith("/") and (owner := Path(host).stat().st_uid):
        return pwd.getpwuid(owner)
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("no account to run pgbouncer as")


def _await(log: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (log.exists() and "process up" in log.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(log.read_text() if log.exists() else "pgbouncer did not start")
        time.sleep(0.02)
