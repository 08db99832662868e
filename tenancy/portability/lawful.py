"""What an export writes, and so all that an import runs; anything else was put in by somebody.

It stops who edits an archive and its sums, and no more: a function's body can say what no rule
reads. So an archive is to be trusted as a migration file is.
"""

import re
from collections.abc import Iterator

import asyncpg

from tenancy.errors import ArchiveError
from tenancy.migrate.files import scope
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.rules import head
from tenancy.migrate.files.splitter import Statement, split, tokens
from tenancy.migrate.shape.dump import PLACEHOLDER
from tenancy.migrate.shape.libpq import Section
from tenancy.portability.image import Image

_KINDS = (
    "TABLE|SEQUENCE|VIEW|INDEX|TYPE|DOMAIN|FUNCTION|PROCEDURE|AGGREGATE|TRIGGER|RULE|POLICY"
    "|STATISTICS|COLLATION|CONVERSION|OPERATOR|TEXT SEARCH|COLUMN|CONSTRAINT"
)
# These meet the beginning of Statement.words.
_MAKES = re.compile(
    r"(CREATE( OR REPLACE)?|ALTER|COMMENT ON)"
    rf"( UNLOGGED| FOREIGN| MATERIALIZED| RECURSIVE| UNIQUE| CONSTRAINT)* ({_KINDS})\b"
    r"|REFRESH MATERIALIZED VIEW \S+$"
    r"|SET LOCAL DEFAULT_(TABLESPACE|TABLE_ACCESS_METHOD)\b"
)
_STRANGE = re.compile(r"ALTER .*\b(OWNER TO|SET SCHEMA|ALL IN TABLESPACE)\b", re.DOTALL)
_DEFAULTS = re.compile(
    rf"ALTER DEFAULT PRIVILEGES .*\bIN SCHEMA {PLACEHOLDER.upper()} (GRANT|REVOKE)\b"
)
# This one meets the text: one object, with no schema, to and from roles.
_QUOTED = '"(?:[^"]|"")+"'
_RIGHTS = re.compile(
    rf"""
    (GRANT|REVOKE)\s(?:[^."]|{_QUOTED})*?\sON\s
    (?:SCHEMA\s{PLACEHOLDER}|(?:TABLE|SEQUENCE|FUNCTION|PROCEDURE|ROUTINE|TYPE|DOMAIN)
    \s(?:[\w$]+|{_QUOTED})(?:\([^()]*\))?)\s(?:TO|FROM)\s(?:[^."]|{_QUOTED})*""",
    re.VERBOSE,
)
_OTHERS = """
    SELECT schema_name FROM tenancy.tenants
    UNION ALL VALUES ('tenancy'), ('tenancy_reports')
    UNION ALL SELECT schema_name FROM tenancy.ready_schemas
"""


async def refuse_strange(conn: asyncpg.Connection, image: Image) -> None:
    """Pass if *image* makes and grants what an export may hold, none of it in another's schema.

    Args:
        conn: of the database that it comes to.
        image: an archive.

    Raises:
        ArchiveError: a statement is none that an export writes, or names the catalog or another
            tenant's schema; nothing was run.
    """
    others = frozenset(row[0] for row in await conn.fetch(_OTHERS))
    for section in Section:
        for text in await image.structure(section):
            _refuse(text, others, of_rights=False)
    for text in await image.rights():
        _refuse(text, others, of_rights=True)


def _refuse(text: str, others: frozenset[str], *, of_rights: bool) -> None:
    for statement in split(tokens(text)):
        lawful = _grants(statement) if of_rights else _makes(statement)
        if not lawful or not others.isdisjoint(_schemas(statement)):
            raise ArchiveError(
                f"the archive holds what no export writes, at {head(statement)} ...: it was "
                "edited; nothing was run"
            )


def _makes(statement: Statement) -> bool:
    return bool(_MAKES.match(statement.words)) and not _STRANGE.match(statement.words)


def _grants(statement: Statement) -> bool:
    return bool(_DEFAULTS.match(statement.words) or _RIGHTS.fullmatch(statement.text))


def _schemas(statement: Statement) -> Iterator[str]:
    """Yield the schemas other than the tenant's in which *statement* names something."""
    for _, schema in scope.faults(statement, Reading(tenant=True, shared=PLACEHOLDER)):
        yield schema
