"""SQL text into tokens and statements, by the rules of PostgreSQL's own lexer; pure.

The rules are those of scan.l and of psql's scanner (psqlscan.l), so that a file which psql can run
is cut here where psql cuts it. Nothing is judged: any text has its tokens, and joined they are it.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

# Possessive quantifiers: a long string must not be remembered letter by letter for backtracking.
# A character outside ASCII belongs to an identifier, even a Unicode blank (scan.l, ident_start).
_LEXER = r"""
    (?P<blank> [ \t\n\r\f\v]++ )
  | (?P<line_comment> --[^\n\r]*+ )
  | (?P<block_comment> /\* )
  | (?P<string>
        [eE]' (?: [^'\\]++ | \\(?:.|\Z) | '' )*+
        # An E'' string goes on in the next line with the same escapes (scan.l, quotecontinue).
        # Not possessive on the outside: Python 3.11.2 and older then match it wrongly.
        (?: ' (?: [ \t\f\v] | --[^\n\r]*+ )*+ [\n\r] (?: [ \t\n\r\f\v]++ | --[^\n\r]*+[\n\r] )*+
            ' (?: [^'\\]++ | \\(?:.|\Z) | '' )*+ )* (?: ' | (?P<open_escapes> \Z ) )
      | ' (?: [^']++ | '' )*+ (?: ' | (?P<open_string> \Z ) )
    )
  | (?P<quoted_name> " (?: [^"]++ | "" )*+ (?: " | (?P<open_name> \Z ) ) )
  | (?P<dollar_string> \$ (?: [A-Za-z_\u0080-\U0010ffff] [A-Za-z0-9_\u0080-\U0010ffff]*+ )?+ \$ )
  | (?P<word> [A-Za-z_\u0080-\U0010ffff] [A-Za-z0-9_$\u0080-\U0010ffff]*+ )
  | (?P<number>
        # A name stuck to it is junk, but may swallow a $ (scan.l, integer_junk, param_junk).
        \$?[0-9] [0-9_.]*+ (?: [A-Za-z_\u0080-\U0010ffff] [A-Za-z0-9_$\u0080-\U0010ffff]*+ )?+
    )
  | (?P<symbol> . )
"""
_COMMENT_MARK = re.compile(r"/\*|\*/")


class Kind(StrEnum):
    """What a token is; a symbol is one character."""

    BLANK = "blank"
    LINE_COMMENT = "line_comment"
    BLOCK_COMMENT = "block_comment"
    STRING = "string"
    QUOTED_NAME = "quoted_name"
    DOLLAR_STRING = "dollar_string"
    WORD = "word"
    NUMBER = "number"
    SYMBOL = "symbol"


_KINDS = {str(kind): kind for kind in Kind}
_ALL_CLOSED = (None, None, None)
_SILENT = frozenset({Kind.BLANK, Kind.LINE_COMMENT, Kind.BLOCK_COMMENT})
_NAMING = frozenset({Kind.WORD, Kind.QUOTED_NAME})


class Token(NamedTuple):
    """A piece of the text at offset *start*; one that is not *closed* ran into the text's end."""

    kind: Kind
    text: str
    start: int
    closed: bool = True

    @property
    def silent(self) -> bool:
        """Whether the server skips it."""
        return self.kind in _SILENT

    @property
    def word(self) -> str:
        """The text, in upper case where the server takes no notice of the case."""
        return self.text.upper() if self.kind is Kind.WORD else self.text


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, from its first token to its last, without the semicolon.

    Attributes:
        start: offset of its first character in the whole text.
        words: its unquoted words in upper case and its quoted names as written, for rules.
    """

    text: str
    start: int
    words: str


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of *text*; joined, they are *text*."""
    match_at, at = _pattern().match, 0
    while match := match_at(text, at):
        kind, end, closed = _KINDS[str(match.lastgroup)], match.end(), True
        if kind is Kind.BLOCK_COMMENT:
            end, closed = _comment_end(text, end)
        elif kind is Kind.DOLLAR_STRING:
            close = text.find(match.group(), end)
            end, closed = (len(text), False) if close < 0 else (close + end - at, True)
        elif kind is Kind.STRING or kind is Kind.QUOTED_NAME:
            closed = match.group("open_escapes", "open_string", "open_name") == _ALL_CLOSED
        yield Token(kind, text[at:end], at, closed)
        at = end


def split(pieces: Iterable[Token]) -> tuple[Statement, ...]:
    """Return the statements in *pieces*; what lies between them is blank, comment or a semicolon.

    A semicolon in parentheses (CREATE RULE) or in a body BEGIN ATOMIC ... END ends no statement.
    """
    statements: list[Statement] = []
    run: list[Token] = []
    nesting = _Nesting()
    for token in pieces:
        if token.text == ";" and not nesting.open:
            statements += _statement(run)
            run, nesting = [], _Nesting()
        elif run or not token.silent:
            nesting.see(token)
            run.append(token)
    return (*statements, *_statement(run))


def line_column(text: str, offset: int) -> tuple[int, int]:
    """Return the line and column of *offset*, both from 1 and counted in characters."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class _Nesting:
    """How deep in parentheses and function bodies the tokens seen so far have led."""

    _HEAD_LENGTH = len("CREATE OR REPLACE PROCEDURE ")
    _CREATES_BODY = re.compile(r"CREATE (OR REPLACE )?(FUNCTION|PROCEDURE) ")

    def __init__(self) -> None:
        self._parentheses = 0
        self._blocks = 0
        self._head = ""
        self._last = ""

    @property
    def open(self) -> bool:
        return self._parentheses > 0 or self._blocks > 0

    def see(self, token: Token) -> None:
        if token.silent:
            return
        if token.text == "(":
            self._parentheses += 1
        elif token.text == ")":
            self._parentheses = max(0, self._parentheses - 1)
        if token.kind is Kind.WORD:
            self._count_block(token.word)
            self._head += f"{token.word} " if len(self._head) < self._HEAD_LENGTH else ""
        self._last = token.word

    def _count_block(self, word: str) -> None:
        if self._last in {"AS", "."}:  # a column's label or part of a name: no keyword
            return
        if self._blocks == 0:
            begins = word == "ATOMIC" and self._last == "BEGIN"
            self._blocks = int(begins and self._CREATES_BODY.match(self._head) is not None)
        elif word == "CASE":  # it closes with END too
            self._blocks += 1
        elif word == "END":
            self._blocks -= 1


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Return the lexer; compiled when first needed: it takes longer than to load most folders."""
    return re.compile(_LEXER, re.VERBOSE | re.DOTALL)


def _comment_end(text: str, at: int) -> tuple[int, bool]:
    depth = 1
    while depth and (mark := _COMMENT_MARK.search(text, at)):
        depth += 1 if mark.group() == "/*" else -1
        at = mark.end()
    return (at, True) if depth == 0 else (len(text), False)


def _statement(run: list[Token]) -> tuple[Statement, ...]:
    while run and run[-1].silent:
        run.pop()
    if not run:
        return ()
    words = " ".join(token.word for token in run if token.kind in _NAMING)
    return (Statement("".join(token.text for token in run), run[0].start, words),)
