"""Names with a schema in front, told from a table's column or a record's field; pure."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tenancy.migrate.files.splitter import Kind, Token
from tenancy.migrate.lint.pieces import NAMING, Piece, name, string

# After these a name of two parts is <schema>.<object>.
_RELATIONS = {
    *("JOIN", "UPDATE", "TABLE", "ONLY", "REFERENCES", "VIEW", "SEQUENCE", "TRUNCATE", "EXISTS"),
    *("INDEX", "FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "TYPE", "DOMAIN", "SETOF"),
    *("RETURNS", "LATERAL", "CONCURRENTLY"),
}
_ABOUT_ONE = re.compile(
    r"(CREATE|DROP|ALTER)\b.*?\b(INDEX|TRIGGER|POLICY|RULE|PUBLICATION)\b|COMMENT ON\b"
)
_FIELD_FUNCTIONS = {"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "POSITION"}
_DOTTED = re.compile(r'(?P<schema>"[^"]+"|[A-Za-z_][\w$]*)\.("[^"]+"|[A-Za-z_][\w$]*)')
_TAKES_NAME = {
    *("NEXTVAL", "SETVAL", "CURRVAL", "TO_REGCLASS", "TO_REGTYPE", "TO_REGPROC"),
    *("PG_GET_SERIAL_SEQUENCE", "TO_REGPROCEDURE", "REGCLASS", "REGTYPE", "REGPROC"),
}
_REG = re.compile(r"REG(CLASS|TYPE|PROC|PROCEDURE|NAMESPACE)")


class Qualified(NamedTuple):
    """A schema's name in front of an object's.

    Attributes:
        schema: as the server keeps it.
        start: its offset.
        sure: whether it can be nothing else than a schema.
    """

    schema: str
    start: int
    sure: bool


def qualified(piece: Piece) -> Iterator[Qualified]:
    """Yield what stands before a dot, or in a string that is read as a name."""
    tokens = piece.tokens
    for at, token in enumerate(tokens):
        if token.kind in NAMING and _text(tokens, at + 1) == "." and _text(tokens, at - 1) != ".":
            yield Qualified(name(token), token.start, _is_schema(piece, at))
        elif token.kind is Kind.STRING and token.closed and _is_name(tokens, at):
            match = _DOTTED.fullmatch(string(token))
            if match:
                schema = match["schema"]
                plain = schema[1:-1] if schema.startswith('"') else schema.lower()
                yield Qualified(plain, token.start, sure=True)


def is_field_of_function(tokens: Sequence[Token], at: int) -> bool:
    """Whether the FROM before *at* is that of EXTRACT(... FROM x.y) and its like."""
    depth = 0
    for back in range(at - 2, -1, -1):
        if tokens[back].text == ")":
            depth += 1
        elif tokens[back].text == "(":
            depth -= 1
            if depth < 0:
                return _word(tokens, back - 1) in _FIELD_FUNCTIONS
    return False


def last_part(tokens: Sequence[Token], at: int) -> Token:
    """Return the object's own name of the name that begins at *at*."""
    while at + 2 < len(tokens) and tokens[at + 1].text == "." and tokens[at + 2].kind in NAMING:
        at += 2
    return tokens[at]


def _is_schema(piece: Piece, at: int) -> bool:
    """Whether the name at *at*, which a dot follows, must be a schema's."""
    tokens = piece.tokens
    end = at
    while _text(tokens, end + 1) == "." and end + 2 < len(tokens):
        end += 2
    before, earlier = _word(tokens, at - 1), _word(tokens, at - 2)
    called = _text(tokens, end + 1) == "(" and tokens[end].kind in NAMING
    cast = _text(tokens, at - 1) == _text(tokens, at - 2) == ":"
    if before == "INTO":  # and not a variable of PL/pgSQL
        return earlier in {"INSERT", "MERGE"}
    if called or cast:
        return True
    if before == "FROM":
        return earlier != "DISTINCT" and not is_field_of_function(tokens, at)
    of_column = before == "COLUMN" or (before == "BY" and earlier == "OWNED")
    return (
        (of_column and (end - at) // 2 + 1 > 2)  # noqa: PLR2004 - <schema>.<table>.<column>
        or (before == "ON" and _ABOUT_ONE.match(piece.words) is not None)
        or (before == "OF" and earlier == "PARTITION")  # else a column's or an alias
        or before in _RELATIONS
    )


def _is_name(tokens: Sequence[Token], at: int) -> bool:
    """Whether the server reads the string at *at* as the name of an object."""
    if _text(tokens, at + 1) == ":" and _REG.fullmatch(_word(tokens, at + 3)):
        return True
    before = _word(tokens, at - 1 if _text(tokens, at - 1) != "(" else at - 2)
    return before in _TAKES_NAME


def _text(tokens: Sequence[Token], at: int) -> str:
    return tokens[at].text if 0 <= at < len(tokens) else ""


def _word(tokens: Sequence[Token], at: int) -> str:
    return tokens[at].word if 0 <= at < len(tokens) else ""
