"""Statements that a file may not hold, because they would break what the migrator promises."""

import re
from collections.abc import Iterator

from tenancy.migrate.files import scope
from tenancy.migrate.files.idle import extension
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Statement

_TRANSACTION = (
    "the migrator begins and ends the transactions: remove this; only a whole BEGIN ... COMMIT "
    "around all of a file may stay, or several in one that says transaction:false"
)
_CLUSTER = "this concerns the whole server, and each schema would do it again: run it by hand"
_SCOPE = (
    "the migrator sets the path, the role and the session for each schema: remove this, "
    "and write names without a schema"
)
_CLIENT = "needs a client beside the file: write INSERT or UPDATE statements"
_COPIED = f"COPY FROM STDIN {_CLIENT}"
_SCHEMA = "a tenant's schema is made by tenancy, and its comment is the migrator's: remove this"

_WRITTEN_FOR = "TENANCY_SQL_WRITTEN_FOR"
_OURS = "SEARCH_PATH|SCHEMA|ROLE|SESSION AUTHORIZATION|SESSION_AUTHORIZATION|TENANCY"

_COPY = re.compile(r"COPY .*\bFROM STDIN\b", re.DOTALL)

# Each pattern meets the beginning of Statement.words.
_RULES = tuple(
    (re.compile(pattern, re.DOTALL), reason)
    for pattern, reason in (
        (r"(BEGIN|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE)\b", _TRANSACTION),
        (r"(START|PREPARE|SET|SET LOCAL|SET SESSION) TRANSACTION\b", _TRANSACTION),
        (r"SET (LOCAL |SESSION )?SESSION CHARACTERISTICS\b", _TRANSACTION),
        (r"(RESET ALL|DISCARD)\b", _SCOPE),
        (rf'(SET|SET LOCAL|SET SESSION|RESET) "?(?i:{_OURS})\b', _SCOPE),
        (_COPY.pattern, _COPIED),
        (r"REINDEX (VERBOSE |TABLESPACE \S+ )*(SCHEMA|DATABASE|SYSTEM)\b", _CLUSTER),
        (r"(VACUUM( FULL| FREEZE| VERBOSE| ANALYZE)*|CLUSTER( VERBOSE)?)$", _CLUSTER),
        (r"(CREATE|DROP) (DATABASE|TABLESPACE)\b", _CLUSTER),
        (r"ALTER SYSTEM\b", _CLUSTER),
        (r"ALTER DATABASE .+ SET TABLESPACE\b", _CLUSTER),
    )
)
_TENANT_RULES = ((re.compile(r"(CREATE|ALTER|DROP|COMMENT ON) SCHEMA\b"), _SCHEMA),)
_CONFIGURES = re.compile(
    rf"SELECT\s+(pg_catalog\s*\.\s*)?set_config\s*\(\s*'({_OURS})", re.IGNORECASE
)
_OUTSIDE = re.compile(
    r"(CREATE|CREATE UNIQUE|DROP) INDEX CONCURRENTLY\b|REINDEX .*\bCONCURRENTLY\b"
    r"|ALTER TABLE .* DETACH PARTITION .*\bCONCURRENTLY\b|VACUUM\b",
    re.DOTALL,
)
_ODD_STRINGS = re.compile(
    r"SET\s.*standard_conforming_strings\s*(=|TO)\s*'?(off|false|0)", re.IGNORECASE | re.DOTALL
)


def readable(source: Source) -> None:
    """Pass if *source* is SQL down to its end, so that its statements are what they seem.

    Raises:
        MigrationFileError: a quote or comment never ends, or it is no SQL for the server.
    """
    faults = list(_unreadable(source))
    if faults:
        # Data of a COPY is cut into odd tokens; the COPY is what to tell.
        copies = [one for one in source.statements if _COPY.match(one.words)]
        raise source.refusal(
            *min([*faults, *((one.start, f"{head(one)}: {_COPIED}") for one in copies)])
        )


def _unreadable(source: Source) -> Iterator[tuple[int, str]]:
    last = ""
    for token in source.tokens:
        if not token.closed:
            yield token.start, f"this {token.kind.replace('_', ' ')} never ends"
        elif token.text == "\\":
            yield token.start, f"a psql command {_CLIENT}"
        elif token.text == "{":
            yield token.start - (last == "$"), "nothing is filled in for placeholders: write it out"
        last = token.text


def runnable(source: Source, reading: Reading) -> None:
    """Pass if every statement of *source* may run where the migrator runs it.

    Raises:
        MigrationFileError: gives the place of the first that may not.
    """
    found = [fault for one in source.statements for fault in faults(one, reading)]
    if found:
        raise source.refusal(*min(found))


def is_outside(statement: Statement) -> bool:
    """Whether *statement* cannot run inside a transaction."""
    return _OUTSIDE.match(statement.words) is not None


def head(statement: Statement) -> str:
    """Return what *statement* begins with, to name it by."""
    return " ".join(statement.words.split()[:3])


def faults(statement: Statement, reading: Reading) -> Iterator[tuple[int, str]]:
    """Yield the offset of what in *statement* may not run, and why."""
    for pattern, reason in _RULES + (_TENANT_RULES if reading.tenant else ()):
        if pattern.match(statement.words):
            yield statement.start, f"{head(statement)}: {reason}"
    if _CONFIGURES.match(statement.text):
        yield statement.start, f"{head(statement)}: {_SCOPE}"
    if _ODD_STRINGS.match(statement.text):
        yield statement.start, "backslashes in strings would mean another thing: write E'' strings"
    if not reading.tenant:
        return
    if (name := extension(statement)) is not None:
        yield statement.start, f"{head(statement)}: {_extension(name, reading)}"
    for offset, schema in scope.faults(statement, reading):
        yield offset, _elsewhere(schema, reading)


def _extension(name: str, reading: Reading) -> str:
    line = f'`CREATE EXTENSION IF NOT EXISTS "{name}";`'
    where = " (make a directory with it and, as tenant/, this folder or a link to it)"
    return (
        f"an extension is in a database once, not in each tenant: put {line} into a file of shared/"
        f"{where if reading.alone else ''}, then this may stay"
    )


def _elsewhere(schema: str, reading: Reading) -> str:
    cure = "write the name without it"
    if reading.own is None:
        cure += f", or set {_WRITTEN_FOR}={schema} if {schema} means the tenant's own in all files"
    return f"the schema {schema!r} is outside of the tenant's: {cure}"
