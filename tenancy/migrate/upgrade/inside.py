"""A file that asks for no transaction, as one that can be in one; pure.

In a schema that nobody uses yet CONCURRENTLY has nothing to wait for, and there is nothing to
vacuum: what is left out changes nothing of what is made. Every character keeps its place.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from tenancy.migrate.files.model import Language, Migration
from tenancy.migrate.files.parts import Part
from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Kind, Statement, tokens

# Each meets the beginning of Statement.words.
_CONCURRENT = re.compile(
    r"(CREATE|CREATE UNIQUE|DROP) INDEX CONCURRENTLY\b"
    r"|ALTER TABLE .* DETACH PARTITION .*\bCONCURRENTLY$",
    re.DOTALL,
)
_UNNEEDED = re.compile(
    r"(VACUUM|REINDEX)\b|CLUSTER( VERBOSE)?$"
    r"|(BEGIN|START TRANSACTION|COMMIT|END)( WORK| TRANSACTION)?$"
)
_IMPOSSIBLE = re.compile(
    r"(CREATE|DROP) (DATABASE|TABLESPACE|SUBSCRIPTION)\b|ALTER (SYSTEM|SUBSCRIPTION)\b"
    r"|ALTER DATABASE .+ SET TABLESPACE\b|(ROLLBACK|ABORT|PREPARE TRANSACTION)\b",
    re.DOTALL,
)


def inside(migration: Migration) -> Migration:
    """Return *migration* so that it can run in an open transaction, in a new schema.

    Raises:
        MigrationFileError: names the place of a statement that cannot.
    """
    if migration.directives.transactional or migration.language is Language.PYTHON:
        return migration  # a Python file sees by its connection that there is a transaction
    source = migration.source
    text = list(source.text)
    for statement in source.statements:
        if _IMPOSSIBLE.match(statement.words):
            head = " ".join(statement.words.split()[:2])
            raise source.refusal(
                statement.start,
                f"{head}: cannot be in a transaction, and a new tenant is made in one: "
                "leave it out, and do it once by hand",
            )
        for start, end in _left_out(statement):
            text[start:end] = re.sub(r"[^\n]", " ", source.text[start:end])
    directives = replace(migration.directives, transactional=True)
    return migration.going(Part(Source(source.label, "".join(text)), directives))


def _left_out(statement: Statement) -> Iterator[tuple[int, int]]:
    start = statement.start
    if _UNNEEDED.match(statement.words):
        yield start, start + len(statement.text)
    elif _CONCURRENT.match(statement.words):
        for token in tokens(statement.text):
            if token.kind is Kind.WORD and token.word == "CONCURRENTLY":
                yield start + token.start, start + token.start + len(token.text)
                return
