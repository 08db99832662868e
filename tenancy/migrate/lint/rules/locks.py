"""What keeps a tenant's traffic waiting, and indexes that nobody notices are missing."""

import re
from collections.abc import Iterator

from tenancy.migrate.lint.finding import EVERYWHERE, Level, Rule
from tenancy.migrate.lint.pieces import Piece, name
from tenancy.migrate.lint.unit import Unit, target

_INDEX = r"CREATE (UNIQUE )?INDEX CONCURRENTLY"
_UNNAMED = re.compile(rf"{_INDEX} ON\b")
_HIDDEN = re.compile(rf"{_INDEX} IF NOT EXISTS\b")

_VOLATILE = "GEN_RANDOM_UUID|UUID_GENERATE_V[14]|UUIDV7|RANDOM|CLOCK_TIMESTAMP|TIMEOFDAY|NEXTVAL"
_REWRITES = re.compile(
    r"CLUSTER\b|VACUUM FULL\b|ALTER TABLE .*("
    r"\bALTER (COLUMN )?\S+ (SET DATA )?TYPE\b|\bSET (LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)\b"
    r"|\bADD .*\bGENERATED (ALWAYS|BY DEFAULT) AS (IDENTITY|.*\bSTORED)\b"
    rf"|\bADD .*\bDEFAULT ({_VOLATILE})\b"
    r"|\bADD (COLUMN )?(IF NOT EXISTS )?\S+ (BIG|SMALL)?SERIAL\b)",
    re.DOTALL,
)
_LOCKS = re.compile(
    r"(ALTER|DROP) TABLE\b|TRUNCATE\b|CLUSTER\b|LOCK\b|DROP INDEX (?!CONCURRENTLY)"
    r"|CREATE (OR REPLACE )?(CONSTRAINT )?TRIGGER\b|DROP TRIGGER\b|CREATE (UNIQUE )?INDEX "
    r"(?!CONCURRENTLY)"
)
_WHOLE = re.compile(
    r"UPDATE (ONLY )?(?P<updated>\S+)(?!.*\bWHERE\b(?! \S+( \S+)? IS (NOT )?NULL$))"
    r"|DELETE FROM (ONLY )?(?P<deleted>\S+)(?!.*\bWHERE\b)",
    re.DOTALL,
)


def _unnamed_index(unit: Unit) -> Iterator[int]:
    return (piece.start for piece in unit.statements if _UNNAMED.match(piece.words))


def _hidden_index(unit: Unit) -> Iterator[int]:
    return (piece.start for piece in unit.statements if _HIDDEN.match(piece.words))


def _long_locks(unit: Unit) -> Iterator[int]:
    rewriting = [
        piece for piece in unit.running if _REWRITES.match(piece.words) and not _is_new(unit, piece)
    ]
    if unit.transactional:
        yield from (piece.start for piece in rewriting[1:])


def _backfill_with_ddl(unit: Unit) -> Iterator[int]:
    locked = False
    for piece in unit.running:
        if not unit.transactional:
            return
        locked = locked or (_LOCKS.match(piece.words) is not None and not _is_new(unit, piece))
        match = _WHOLE.match(piece.words)
        if locked and match:
            table = (match["updated"] or match["deleted"]).strip('"').lower()
            if table not in unit.new:
                yield piece.start


def _is_new(unit: Unit, piece: Piece) -> bool:
    """Whether *piece* is about a table that this file has made."""
    on = [
        after
        for word, after in zip(piece.tokens, piece.tokens[1:], strict=False)
        if word.word == "ON"
    ]
    token = target(piece) if piece.words.startswith(("ALTER TABLE", "DROP TABLE")) else None
    found = token or (on[0] if on else None)
    return found is not None and name(found) in unit.new


RULES = (
    Rule(
        "unnamed-index",
        Level.WARNING,
        "nobody can look whether an index without a name was built: broken off once, it is built "
        "a second time beside the invalid one",
        "give the index a name",
        _unnamed_index,
        EVERYWHERE,
    ),
    Rule(
        "hidden-index",
        Level.WARNING,
        "IF NOT EXISTS passes over an index that was broken off and is INVALID: it slows writes "
        "down and answers no query",
        "leave IF NOT EXISTS out: the migrator looks in the catalog, and builds an invalid one "
        "again",
        _hidden_index,
        EVERYWHERE,
    ),
    Rule(
        "long-locks",
        Level.WARNING,
        "a second rewrite while the lock of the first one is held: the first table's traffic waits "
        "for both",
        "a file for each; several changes of one table in one ALTER TABLE, which rewrites it once",
        _long_locks,
    ),
    Rule(
        "backfill-with-ddl",
        Level.WARNING,
        "changes every row while the lock of an earlier statement is held: the table's traffic "
        "waits until the last row is done",
        "put it into a file of its own, or in batches into a Python file",
        _backfill_with_ddl,
    ),
)
