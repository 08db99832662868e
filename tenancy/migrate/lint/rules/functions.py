"""Functions that run in whatever path their caller has."""

import itertools
import re
from collections.abc import Iterator, Sequence

from tenancy.migrate.files.splitter import Token
from tenancy.migrate.lint.finding import EVERYWHERE, Level, Rule
from tenancy.migrate.lint.names import is_field_of_function
from tenancy.migrate.lint.pieces import NAMING, Piece, name
from tenancy.migrate.lint.unit import Unit

_CREATES = re.compile(r"CREATE (OR REPLACE )?(FUNCTION|PROCEDURE) (?P<name>\S+)")
_FIXES = re.compile(r"ALTER (FUNCTION|PROCEDURE|ROUTINE) (?P<name>\S+) .*SET SEARCH_PATH\b")
_DEFINER = re.compile(r".*\bSECURITY DEFINER\b", re.DOTALL)
_HAS_PATH = re.compile(r".*\bSET SEARCH_PATH\b|.*\bBEGIN ATOMIC\b", re.DOTALL)
_READS = {"FROM", "JOIN", "UPDATE", "INTO", "TABLE"}


def _definer_path(unit: Unit) -> Iterator[int]:
    for piece in _pathless(unit):
        if _DEFINER.match(piece.words):
            yield piece.start


def _function_path(unit: Unit) -> Iterator[int]:
    for piece in _pathless(unit):
        bodies = [
            one for one in unit.pieces if one.statement == piece.statement and one is not piece
        ]
        if not _DEFINER.match(piece.words) and any(_uses_tables(one.tokens) for one in bodies):
            yield piece.start


def _pathless(unit: Unit) -> Iterator[Piece]:
    """Yield the statements that make a function without a path of its own."""
    fixed = {match["name"] for one in unit.statements if (match := _FIXES.match(one.words))}
    for piece in unit.statements:
        match = _CREATES.match(piece.words)
        if match and match["name"] not in fixed and not _HAS_PATH.match(piece.words):
            yield piece


def _uses_tables(tokens: Sequence[Token]) -> bool:
    """Whether a relation is named without its schema."""
    for at, (before, token) in enumerate(itertools.pairwise(tokens), start=1):
        if before.word not in _READS or token.kind not in NAMING:
            continue
        after = tokens[at + 1].text if at + 1 < len(tokens) else ""
        inserts = before.word != "INTO" or (at > 1 and tokens[at - 2].word in {"INSERT", "MERGE"})
        distinct = at > 1 and tokens[at - 2].word in {"DISTINCT", "DO", "FOR", "KEY"}
        bare = after not in {".", "("} and not name(token).startswith("pg_")
        if inserts and bare and not distinct and not is_field_of_function(tokens, at):
            return True
    return False


RULES = (
    Rule(
        "definer-path",
        Level.ERROR,
        "runs with its owner's rights in its caller's path: who sets the path decides whose tables "
        "and functions those rights are used on",
        "add SET search_path FROM CURRENT: it keeps this tenant's path, whoever calls",
        _definer_path,
        EVERYWHERE,
    ),
    Rule(
        "function-path",
        Level.WARNING,
        "finds its tables by its caller's path: called or fired from another tenant's, it works on "
        "that one's tables",
        "add SET search_path FROM CURRENT, or write its body as BEGIN ATOMIC",
        _function_path,
    ),
)
