"""Files written for one schema by name: its name becomes the tenant's own, by leaving it out.

It is made blank, so that everything else stays at its place, and the path finds the tenant's.
"""

import re
from collections.abc import Iterator, Sequence

from tenancy.migrate.files.bodies import bodies
from tenancy.migrate.files.source import Source, Span
from tenancy.migrate.files.splitter import Kind, Token, tokens

# What takes a string for the name of a thing, or for SQL.
_TAKES_NAME = {"NEXTVAL", "SETVAL", "CURRVAL", "TO_REGCLASS", "PG_GET_SERIAL_SEQUENCE", "REGCLASS"}
_IS_NAME = {"REGCLASS", "REGTYPE", "REGPROC", "REGPROCEDURE"}
_TAKES_SQL = {"EXECUTE", "FORMAT"}


def moved(source: Source, own: str) -> Source:
    """Return *source* without the name of the schema *own* before what is in it.

    In bodies of functions and in DO too, in strings that name a relation (``'public.t'::regclass``)
    and in SQL that is put together (``EXECUTE format('... public.t')``); in no other string.
    """
    found: list[Span] = []
    for statement in source.statements:
        pieces = tuple(tokens(statement.text))
        found += [
            (start + statement.start, end + statement.start) for start, end in _all(pieces, own)
        ]
    return source.without(found)


def _all(pieces: Sequence[Token], own: str) -> Iterator[Span]:
    yield from _spans(pieces, own)
    for body, start in bodies(pieces):
        for first, last in _all(tuple(tokens(body)), own):
            yield first + start, last + start


def _spans(pieces: Sequence[Token], own: str) -> Iterator[Span]:
    loud = [token for token in pieces if not token.silent]
    for at, token in enumerate(loud):
        before = [piece.word for piece in loud[max(0, at - 2) : at]]
        if _names(token, own) and _word(loud, at + 1) == "." and before[-1:] != ["."]:
            yield token.start, loud[at + 1].start + 1
        elif token.word == "SEARCH_PATH" and _word(loud, at + 1) in {"=", "TO"}:
            yield from _path(loud, at, own)
        elif token.kind is Kind.DOLLAR_STRING and before[-1:] == ["EXECUTE"]:
            yield from _inside(token, own)
        elif token.kind is Kind.STRING:
            call = before[0] if before[-1:] == ["("] else "".join(before[-1:])
            if call in _TAKES_SQL or (_is_relation(token, own) and _is_name(call, loud, at)):
                yield from _inside(token, own)


def _word(loud: Sequence[Token], at: int) -> str:
    return loud[at].word if at < len(loud) else ""


def _is_name(call: str, loud: Sequence[Token], at: int) -> bool:
    """Whether the string at *at* is an argument or cast that names a thing in the database."""
    after = [piece.word for piece in loud[at + 1 : at + 6]]
    cast = after[1:2] if after[:1] == ["AS"] else after[2:5:2] if after[:2] == [":", ":"] else []
    return call in _TAKES_NAME or bool(_IS_NAME & set(cast))


def _names(token: Token, own: str) -> bool:
    if token.kind is Kind.WORD:
        return token.text.lower() == own
    return token.kind is Kind.QUOTED_NAME and token.text == f'"{own}"'


def _path(loud: Sequence[Token], at: int, own: str) -> Iterator[Span]:
    """Yield a whole ``SET search_path`` to nothing but *own* and what is always there."""
    end = at + 2
    while _word(loud, end + 1) == ",":
        end += 2
    items = loud[at + 2 : end + 1 : 2]
    sets = [piece for piece in loud[:at] if piece.word == "SET"]
    names = {token.text.strip("'\"").lower() for token in items}
    if sets and items and names <= {"", own, "pg_catalog", "pg_temp"}:
        # Of ALTER FUNCTION it is all there is, and nothing may be left of that.
        start = loud[0] if loud[0].word == "ALTER" else sets[-1]
        yield start.start, items[-1].start + len(items[-1].text)


def _is_relation(token: Token, own: str) -> bool:
    name = re.escape(own)
    return re.fullmatch(rf"""'(?i:{name}|"{name}")\.[^'.]+'""", token.text) is not None


def _inside(token: Token, own: str) -> Iterator[Span]:
    quote = token.text[: token.text.index("$", 1) + 1] if token.kind is Kind.DOLLAR_STRING else "'"
    body = token.text[len(quote) : len(token.text) - len(quote)]
    for first, last in _all(tuple(tokens(body)), own):
        yield first + token.start + len(quote), last + token.start + len(quote)
