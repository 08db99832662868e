"""What stays behind in the session, where the next file finds it."""

import re
from collections.abc import Iterator

from tenancy.migrate.files.splitter import Kind
from tenancy.migrate.lint.finding import EVERYWHERE, Level, Rule
from tenancy.migrate.lint.pieces import Piece, Place, name, string
from tenancy.migrate.lint.unit import Unit, is_temporary, target

_SET = re.compile(
    r"SET (SESSION )?(?!(LOCAL|CONSTRAINTS|TRANSACTION|SESSION|SEARCH_PATH|ROLE|SCHEMA)\b)"
)
_ENDS = re.compile(r"(COMMIT|ROLLBACK)\b")
_PATH = re.compile(r"(RESET|SET( LOCAL| SESSION)?) (SEARCH_PATH|ROLE|SESSION AUTHORIZATION)\b")


def _session_setting(unit: Unit) -> Iterator[int]:
    before: Piece | None = None
    for piece in unit.running:
        sets = _SET.match(piece.words) is not None
        if sets and not (before and _SET.match(before.words)):  # once for a whole row of them
            yield piece.start
        before = piece


def _temporary_table(unit: Unit) -> Iterator[int]:
    for piece, named in _temporary(unit):
        dropped = any(
            other.words.startswith("DROP TABLE")
            and other.start > piece.start
            and named in {name(t) for t in other.tokens if t.kind in {Kind.WORD, Kind.QUOTED_NAME}}
            for other in unit.running
        )
        if not dropped:
            yield piece.start


def _shadowing_table(unit: Unit) -> Iterator[int]:
    permanent = unit.around.tenant_tables | unit.around.shared_tables
    return (piece.start for piece, named in _temporary(unit) if named in permanent)


def _temporary(unit: Unit) -> Iterator[tuple[Piece, str]]:
    for piece in unit.running:
        token = target(piece) if is_temporary(piece) else None
        if token is not None:
            yield piece, name(token)


def _transaction_control(unit: Unit) -> Iterator[int]:
    """Find it where the migrator's reader does not look: in a block."""
    for piece in unit.running:
        if unit.transactional and _ENDS.match(piece.words):
            yield piece.start


def _search_path(unit: Unit) -> Iterator[int]:
    for piece in unit.running:
        if piece.place is Place.BLOCK and _PATH.match(piece.words):
            yield piece.start
        for first, third in zip(piece.tokens, piece.tokens[2:], strict=False):
            sets = first.word == "SET_CONFIG" and third.kind is Kind.STRING
            if sets and string(third).lower() in {"search_path", "role"}:
                yield first.start


RULES = (
    Rule(
        "transaction-control",
        Level.ERROR,
        "a migration is one transaction, which the migrator begins and ends: what comes after this "
        "would run outside of the tenant",
        "remove it; for a file that cannot be one transaction say transaction:false",
        _transaction_control,
        EVERYWHERE,
    ),
    Rule(
        "search-path",
        Level.ERROR,
        "the migrator sets the path and the role for each schema: what comes after this would land "
        "elsewhere",
        "remove it, and write names without a schema",
        _search_path,
        EVERYWHERE,
    ),
    Rule(
        "session-setting",
        Level.WARNING,
        "the setting stays until the session's end, not the file's: where all files run in one "
        "transaction, as for a new tenant, the later ones run with it",
        "SET LOCAL; for lock_timeout and statement_timeout the directive's options",
        _session_setting,
        EVERYWHERE,
    ),
    Rule(
        "temporary-table",
        Level.WARNING,
        "a new tenant is made from all files in one transaction, whose end is where ON COMMIT "
        "counts: a later file finds this table, and cannot make one of the same name",
        "DROP TABLE it at the end of the file",
        _temporary_table,
        EVERYWHERE,
    ),
    Rule(
        "shadowing-table",
        Level.ERROR,
        "a table of the same name is in the schema, and that comes first in the path: what means "
        "the temporary one changes the tenant's own",
        "give the temporary table a name of its own",
        _shadowing_table,
        EVERYWHERE,
    ),
)
