"""pg_dump: where it is, and how it is told an address without its password being seen."""

import asyncio
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from tenancy.embedded.programs import program
from tenancy.errors import DatabaseSetupError

# What asyncpg takes behind the ? of an address and libpq does too; the rest are server settings.
_LIBPQ_WORDS = """
    host port user dbname passfile sslmode sslcert sslkey sslrootcert sslcrl
    sslnegotiation ssl_min_protocol_version ssl_max_protocol_version krbsrvname gsslib service
    target_session_attrs connect_timeout application_name client_encoding options
"""
_LIBPQ = frozenset(_LIBPQ_WORDS.split())
_RENAMED = {"database": "dbname"}


class Section(StrEnum):
    """The parts of a dump: before the rows, and after them."""

    BEFORE = "pre-data"
    AFTER = "post-data"


async def dumped(  # noqa: PLR0913 - what of what, then how, by name
    dsn: str,
    schema: str,
    section: Section,
    *,
    major: int,
    privileges: bool = False,
    snapshot: str = "",
) -> str:
    """Return what pg_dump writes of *schema*.

    Args:
        dsn: where it is.
        schema: its name.
        section: which part.
        major: the server's version.
        privileges: with what was granted and revoked.
        snapshot: of `pg_export_snapshot()`: as seen by that transaction, which is still open.

    Raises:
        DatabaseSetupError: no pg_dump fits the server, or it fails; says what it said.
    """
    address, secret = connection(dsn)
    command = [
        *(str(program("pg_dump", major)), "--no-password", "--no-owner", "--encoding=UTF8"),
        *(f"--schema={_pattern(schema)}", f"--section={section}", f"--dbname={address}"),
        *([] if privileges else ["--no-privileges"]),
        *([f"--snapshot={snapshot}"] if snapshot else []),
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **secret, "LC_ALL": "C"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:  # cancelled
            process.kill()
            await process.wait()
    if process.returncode:
        raise DatabaseSetupError(f"pg_dump failed: {_fault(err.decode(errors='replace'))}")
    return out.decode()


def connection(dsn: str) -> tuple[str, Mapping[str, str]]:
    """Return *dsn* as libpq reads it, and as environment what stays off a command line.

    Everybody on a machine can read the command line of a process.

    Raises:
        DatabaseSetupError: it holds a secret that libpq takes from nowhere else.
    """
    parts = urlsplit(dsn)
    options = {_RENAMED.get(name, name): value for name, value in parse_qsl(parts.query)}
    password = options.pop("password", "") or unquote(parts.password or "")
    if "sslpassword" in options:
        raise DatabaseSetupError(
            "pg_dump takes sslpassword by its command line alone, which everybody on the machine "
            "can read: use a key without a password"
        )
    settings = {name: options.pop(name) for name in list(options) if name not in _LIBPQ}
    login, _, location = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    netloc = f"{user}@{location}" if user else location
    secret = {"PGPASSWORD": password} if password else {}
    if settings:
        secret["PGOPTIONS"] = as_options(settings)
    query = f"?{urlencode(options, quote_via=quote)}" if options else ""
    return f"{parts.scheme}://{netloc}{parts.path}{query}", secret


def as_options(settings: Mapping[str, str]) -> str:
    """Return *settings* of a session as PGOPTIONS has them."""
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())


def _pattern(name: str) -> str:
    """Return what pg_dump takes for *name* alone, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _escaped(value: str) -> str:
    return re.sub(r"([ \\])", r"\\\1", value)


def _fault(err: str) -> str:
    """Return the first error that pg_dump named; what follows it are hints and its own query."""
    lines = err.splitlines() or ["it said nothing"]
    return next((line for line in lines if "error:" in line), lines[0]).partition("error: ")[2]
