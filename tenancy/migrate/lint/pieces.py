"""A file's statements, and those inside of its blocks, functions and executed strings; pure.

Rules read tokens, not a parse tree: they have to read files that do not parse, say the same on
every machine, and know where in a function's body a name stands, which is one string to a parser.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Kind, Token, tokens

NAMING = frozenset({Kind.WORD, Kind.QUOTED_NAME})
_ROUTINE = re.compile(r"CREATE (OR REPLACE )?(FUNCTION|PROCEDURE)\b")
_READABLE = {"SQL", "PLPGSQL", ""}
_QUOTED = re.compile(r"(?P<tag>\$[^$]*\$)(?P<body>.*)(?P=tag)", re.DOTALL)
_CUTTING = {"THEN", "ELSE", "LOOP", "BEGIN", "DECLARE"}


class Place(StrEnum):
    """Where a piece stands, which says when it runs."""

    FILE = "file"
    BLOCK = "block"  # inside DO: at once
    ROUTINE = "routine"  # inside CREATE FUNCTION: when somebody calls it


@dataclass(frozen=True, slots=True)
class Piece:
    """A statement, or what stands between two keywords of PL/pgSQL.

    Attributes:
        tokens: without blanks and comments; each knows its offset in the file.
        words: its names and keywords, as `Statement.words`.
        statement: number of the file's statement that it is, or is in.
    """

    tokens: tuple[Token, ...]
    place: Place
    words: str
    statement: int = 0

    @property
    def start(self) -> int:
        """Offset of its first token."""
        return self.tokens[0].start


def read(source: Source) -> tuple[Piece, ...]:
    """Return the pieces of *source*, each body's after the statement it is in."""
    found: list[Piece] = []
    every = iter(source.tokens)
    for statement in source.statements:
        end = statement.start + len(statement.text)
        inside = [t for t in _until(every, end) if t.start >= statement.start and not t.silent]
        outer = _piece(inside, Place.FILE, statement=len(found) + 1)
        found += [outer, *_bodies(outer)]
    return tuple(found)


def name(token: Token) -> str:
    """Return the name as the server keeps it."""
    if token.kind is Kind.QUOTED_NAME:
        return token.text[1:-1].replace('""', '"')
    return token.text.lower()


def string(token: Token) -> str:
    """Return the text in a plain string's quotes."""
    return token.text[token.text.index("'") + 1 : -1].replace("''", "'")


def _until(every: Iterator[Token], end: int) -> Iterator[Token]:
    for token in every:
        yield token
        if token.start + len(token.text) >= end:
            return


def _piece(inside: Sequence[Token], place: Place, statement: int = 0) -> Piece:
    words = " ".join(token.word for token in inside if token.kind in NAMING)
    return Piece(tuple(inside), place, words, statement)


def _bodies(outer: Piece) -> Iterator[Piece]:
    if outer.words.startswith("DO"):
        for token in outer.tokens[1:]:
            yield from _body(token, Place.BLOCK, outer.statement)
    elif _ROUTINE.match(outer.words) and _language(outer) in _READABLE:
        for before, token in zip(outer.tokens, outer.tokens[1:], strict=False):
            if before.word == "AS":
                yield from _body(token, Place.ROUTINE, outer.statement)
        yield from _atomic(outer)


def _language(outer: Piece) -> str:
    for before, token in zip(outer.tokens, outer.tokens[1:], strict=False):
        if before.word == "LANGUAGE":
            return token.text.strip("'\"").upper()
    return ""


def _body(token: Token, place: Place, statement: int) -> Iterator[Piece]:
    if token.kind is Kind.DOLLAR_STRING and (match := _QUOTED.fullmatch(token.text)):
        yield from _inside(match["body"], token.start + match.start("body"), place, statement)
    elif token.kind is Kind.STRING and token.closed:
        # Doubled quotes make two of one character: offsets stay right, and strings come apart.
        start = token.text.index("'") + 1
        yield from _inside(token.text[start:-1], token.start + start, place, statement)


def _inside(text: str, offset: int, place: Place, statement: int) -> Iterator[Piece]:
    shifted = [t._replace(start=t.start + offset) for t in tokens(text) if not t.silent]
    yield from _cut(shifted, place, statement)


def _atomic(outer: Piece) -> Iterator[Piece]:
    """Yield the statements of a body BEGIN ATOMIC ... END."""
    for at, (before, token) in enumerate(zip(outer.tokens, outer.tokens[1:], strict=False)):
        if before.word == "BEGIN" and token.word == "ATOMIC":
            yield from _cut(outer.tokens[at + 2 :], Place.ROUTINE, outer.statement)
            return


def _cut(inside: Sequence[Token], place: Place, statement: int) -> Iterator[Piece]:
    """Yield what stands between semicolons and the keywords that begin a block."""
    run: list[Token] = []
    parentheses = cases = 0
    last = ""
    for token in inside:
        if token.text in "()":
            parentheses = max(0, parentheses + (1 if token.text == "(" else -1))
        elif token.word == "CASE":
            cases += last != "END"
        elif token.word == "END":
            cases = max(0, cases - 1)
        ends = token.text == ";" or (token.word in _CUTTING and not cases)
        last = token.word
        if ends and not parentheses:
            yield from _whole(run, place, statement)
            run = []
        else:
            run.append(token)
    yield from _whole(run, place, statement)


def _whole(run: list[Token], place: Place, statement: int) -> Iterator[Piece]:
    if not run:
        return
    piece = _piece(run, place, statement)
    yield piece
    for before, token in itertools.pairwise(run):
        if before.word == "EXECUTE" or (before.text == "(" and _executes_format(run, before)):
            yield from _body(token, place, statement)


def _executes_format(run: list[Token], parenthesis: Token) -> bool:
    at = run.index(parenthesis)
    return at > 1 and (run[at - 2].word, run[at - 1].word) == ("EXECUTE", "FORMAT")
