"""Statements that no migration may hold, because they would break one transaction per file."""

import re
from collections.abc import Iterator

from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Kind, Statement

_TRANSACTION = "a migration is one transaction, which the migrator begins and ends: remove this"
_OUTSIDE = (
    "this cannot run inside a transaction, and this version of tenancy runs every file in one: "
    "leave it out, or run it by hand outside the migrations"
)
_SCOPE = (
    "the migrator sets the path, the role and the session for each schema: remove this, "
    "and write names without a schema"
)
_CLIENT = "needs a client beside the file: write INSERT or UPDATE statements"
_EXTENSION = (
    "an extension exists once in a database, not once in each tenant: move this to the shared stage"
)

_OURS = "SEARCH_PATH|SCHEMA|ROLE|SESSION AUTHORIZATION|SESSION_AUTHORIZATION|TENANCY"

# Each pattern meets the beginning of Statement.words.
_RULES = tuple(
    (re.compile(pattern, re.DOTALL), reason)
    for pattern, reason in (
        (r"(BEGIN|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE)\b", _TRANSACTION),
        (r"(START|PREPARE|SET|SET LOCAL|SET SESSION) TRANSACTION\b", _TRANSACTION),
        (r"SET (LOCAL |SESSION )?SESSION CHARACTERISTICS\b", _TRANSACTION),
        (r"(RESET ALL|DISCARD)\b", _SCOPE),
        (rf'(SET|SET LOCAL|SET SESSION|RESET) "?(?i:{_OURS})\b', _SCOPE),
        (r"COPY .*\bFROM STDIN\b", f"COPY FROM STDIN {_CLIENT}"),
        (r"(CREATE|CREATE UNIQUE|DROP) INDEX CONCURRENTLY\b", _OUTSIDE),
        (r"REINDEX .*\bCONCURRENTLY\b", _OUTSIDE),
        (r"REINDEX (VERBOSE |TABLESPACE \S+ )*(SCHEMA|DATABASE|SYSTEM)\b", _OUTSIDE),
        (r"ALTER TABLE .* DETACH PARTITION .*\bCONCURRENTLY\b", _OUTSIDE),
        (r"VACUUM\b", _OUTSIDE),
        (r"CLUSTER( VERBOSE)?$", _OUTSIDE),
        (r"(CREATE|DROP) (DATABASE|TABLESPACE)\b", _OUTSIDE),
        (r"ALTER SYSTEM\b", _OUTSIDE),
        (r"ALTER DATABASE .+ SET TABLESPACE\b", _OUTSIDE),
    )
)
_TENANT_RULES = ((re.compile(r"(CREATE|ALTER|DROP) EXTENSION\b"), _EXTENSION),)


def check(source: Source, *, tenant: bool) -> None:
    """Pass if every statement of *source* can run where the migrator runs it.

    In a *tenant* file, which runs once for each tenant, less can.

    Raises:
        MigrationFileError: gives the place of the first one that cannot.
    """
    faults = [*_unclosed(source), *_psql_commands(source), *_refused(source, tenant=tenant)]
    if faults:
        raise source.refusal(*min(faults))


def _unclosed(source: Source) -> Iterator[tuple[int, str]]:
    for token in source.tokens:
        if not token.closed:
            yield token.start, f"this {token.kind.replace('_', ' ')} never ends"


def _psql_commands(source: Source) -> Iterator[tuple[int, str]]:
    for token in source.tokens:
        if token.kind is Kind.SYMBOL and token.text == "\\":
            yield token.start, f"a psql command {_CLIENT}"


def _refused(source: Source, *, tenant: bool) -> Iterator[tuple[int, str]]:
    rules = _RULES + _TENANT_RULES if tenant else _RULES
    for statement in source.statements:
        for pattern, reason in rules:
            if pattern.match(statement.words):
                yield statement.start, f"{_head(statement)}: {reason}"


def _head(statement: Statement) -> str:
    return " ".join(statement.words.split()[:3])
