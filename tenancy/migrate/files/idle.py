"""Statements that a tenant's schema has no use for, and that a history need not be edited for.

They are left out, each because what it asks for is so already: what pg_dump writes on top of a
file, an extension that the shared stage has made, the schema that the tenant's own stands for.
"""

import re
from collections.abc import Iterable, Iterator

from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source, Span
from tenancy.migrate.files.splitter import Statement

_RESTRICT = re.compile(r"\\(un)?restrict\b.*", re.IGNORECASE)
_NO_PATH = re.compile(
    r"SELECT\s+(pg_catalog\s*\.\s*)?set_config\s*\(\s*'search_path'\s*,\s*'(?P<path>[^']*)'\s*,"
    r"\s*(true|false)\s*\)",
    re.IGNORECASE,
)
_NO_LIMIT = re.compile(
    r"SET\s+(statement_timeout|lock_timeout|idle_in_transaction_session_timeout|transaction_timeout)"
    r"\s*(=|\bTO\b)\s*'?0'?",
    re.IGNORECASE,
)
_EXTENSION = re.compile(
    r'(?P<verb>CREATE|DROP|COMMENT ON) EXTENSION (IF (NOT )?EXISTS )?(?P<name>"[^"]+"|\S+)'
)
_MADE = re.compile(
    r'\bCREATE\s+EXTENSION\s+(IF\s+NOT\s+EXISTS\s+)?(?P<name>"[^"]+"|\w+)', re.IGNORECASE
)
_ALWAYS = frozenset({"plpgsql"})  # in every database, pg_dump of old versions makes it again


def commands(source: Source) -> list[Span]:
    r"""Return the lines ``\restrict`` and ``\unrestrict``, which tell psql alone something."""
    return [
        (token.start, token.start + len(match.group()))
        for token in source.tokens
        if token.text == "\\" and (match := _RESTRICT.match(source.text, token.start))
    ]


def statements(source: Source, reading: Reading) -> list[Statement]:
    """Return the statements of *source* that are left out."""
    found = [one for one in source.statements if _is_idle(one, reading)]
    if any(_is_header(one, reading) for one in source.statements):
        # Of a dump's header alone: elsewhere somebody means that there be no limit.
        found += [one for one in source.statements if _NO_LIMIT.fullmatch(one.text)]
    return found


def extensions(texts: Iterable[str]) -> Iterator[str]:
    """Yield the extensions that the statements *texts* make."""
    for text in texts:
        for match in _MADE.finditer(text):
            yield _plain(match["name"])


def extension(statement: Statement) -> str | None:
    """Return the extension that *statement* makes, drops or describes."""
    match = _EXTENSION.match(statement.words)
    return _plain(match["name"]) if match else None


def _is_idle(statement: Statement, reading: Reading) -> bool:
    if _is_header(statement, reading):
        return True
    if not reading.tenant:
        return False
    if extension(statement) in reading.extensions | _ALWAYS:
        return True
    return reading.own is not None and any(
        re.match(pattern.format(own=_written(reading.own)), statement.words)
        for pattern in _OF_OWN_SCHEMA
    )


_OF_OWN_SCHEMA = (
    r"CREATE SCHEMA (IF NOT EXISTS )?{own}( AUTHORIZATION \S+)?$",
    r"ALTER SCHEMA {own} OWNER TO \S+$",
    r"COMMENT ON SCHEMA {own} IS\b",
    r"(GRANT|REVOKE) .*\bON SCHEMA {own} (TO|FROM) ",
)


def _is_header(statement: Statement, reading: Reading) -> bool:
    match = _NO_PATH.fullmatch(statement.text)
    names = {name.strip().strip('"') for name in match["path"].split(",")} if match else {None}
    return names <= {"", "pg_catalog", "pg_temp", reading.own or ""}


def _written(name: str) -> str:
    """Return a pattern for *name* among the words of a statement."""
    return rf'({re.escape(name.upper())}|"{re.escape(name)}")'


def _plain(name: str) -> str:
    return name.strip('"') if name.startswith('"') else name.lower()
