"""Names that lead out of a tenant's schema, as far as the text alone can be sure of it."""

import re
from collections.abc import Iterator, Sequence

from tenancy.migrate.files.bodies import bodies
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.splitter import Kind, Statement, Token, tokens

_NAMING = {Kind.WORD, Kind.QUOTED_NAME}
_ALWAYS = re.compile(r"pg_.*|information_schema")
_SKIPPED = {"IF", "NOT", "EXISTS", "ONLY", "CONCURRENTLY"}
_KINDS = {"TABLE", "VIEW", "SEQUENCE", "INDEX", "TYPE", "DOMAIN", "FUNCTION", "PROCEDURE"}
_KINDS |= {"ROUTINE", "AGGREGATE", "STATISTICS", "COLLATION"}
# Behind these stands a relation and nothing else: no column, no variable.
_BEFORE = {"UPDATE", "JOIN", "REFERENCES", "TRUNCATE"}
_HEAD = 16  # tokens that a statement's kind is told from
_ON = {"INDEX", "TRIGGER", "POLICY", "RULE"}
_HEADS = {"CREATE", "ALTER", "DROP", "TRUNCATE", "LOCK", "COMMENT", "GRANT", "REVOKE"}
_MODIFIERS = {"OR", "REPLACE", "UNIQUE", "UNLOGGED", "MATERIALIZED", "FOREIGN", "RECURSIVE", "ON"}
_MODIFIERS |= {"ALL", "SELECT", "INSERT", "UPDATE", "DELETE", "USAGE", "EXECUTE", ","}
_OWN_FROM = {"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "POSITION"}  # (x FROM y) is no table
_MOVES = re.compile(r"ALTER .*\bSET SCHEMA (?P<schema>\S+)$", re.DOTALL)
_RIGHTS = re.compile(r"(GRANT|REVOKE|ALTER DEFAULT PRIVILEGES) .*\b(ON|IN) SCHEMA (?P<schema>\S+)")


def faults(statement: Statement, reading: Reading) -> Iterator[tuple[int, str]]:
    """Yield the offset of each name in *statement* that leads elsewhere, with the schema's name.

    A name is told only where it can be nothing but a relation's, a type's or a function's, because
    ``a.b`` may also be a column, a record's field or an alias.
    """
    for pattern in (_MOVES, _RIGHTS):
        match = pattern.match(statement.words)
        if match and not _is_known(_plain(match["schema"]), reading):
            yield statement.start, _plain(match["schema"])
    if "." in statement.text:
        yield from _names(tuple(tokens(statement.text)), statement.start, reading)


def _names(pieces: Sequence[Token], base: int, reading: Reading) -> Iterator[tuple[int, str]]:
    loud = [token for token in pieces if not token.silent]
    opened: list[str] = []  # the word before each parenthesis that is open
    for at, token in enumerate(loud):
        if token.text == "(":
            opened.append(loud[at - 1].word if at else "")
        elif token.text == ")":
            del opened[-1:]
        elif token.kind in _NAMING and [one.text for one in loud[at + 1 : at + 2]] == ["."]:
            schema = _plain(token.word)
            if not _is_known(schema, reading) and _is_target(loud, at, opened):
                yield base + token.start, schema
    for body, start in bodies(pieces):
        yield from _names(tuple(tokens(body)), base + start, reading)


def _is_target(loud: Sequence[Token], at: int, opened: list[str]) -> bool:
    """Whether the name at *at* must be that of a thing in a schema."""
    while at and loud[at - 1].word in _SKIPPED:
        at -= 1
    before = [token.word for token in loud[max(0, at - 1) : at]]
    last = [token.word for token in loud[max(0, at - 2) : max(0, at - 1)]]
    words = [token.word for token in loud[: min(at, _HEAD)]]
    if before == ["FROM"]:
        return last != ["DISTINCT"] and not _OWN_FROM & set(opened[-1:])
    if before == ["INTO"]:
        return last in (["INSERT"], ["MERGE"])
    if before == ["ON"]:
        creates = words[:1] == ["CREATE"] and _ON & set(words[1:4])
        return bool(creates) or words[:1] in (["GRANT"], ["REVOKE"])
    if before == [","]:
        return words[:1] in (["DROP"], ["TRUNCATE"]) and not opened
    if before and before[0] in _KINDS:  # and not a column's type or name
        return at <= _HEAD and words[0] in _HEADS and set(words[1:-1]) <= _MODIFIERS
    return bool(before) and before[0] in _BEFORE


def _is_known(schema: str, reading: Reading) -> bool:
    return schema == reading.shared or _ALWAYS.fullmatch(schema) is not None


def _plain(word: str) -> str:
    return word.strip('"') if word.startswith('"') else word.lower()
