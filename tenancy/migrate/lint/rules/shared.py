"""What ties a tenant's tables to the shared schema's, or to other clients of the database."""

import re
from collections.abc import Iterator

from tenancy.migrate.files.splitter import Token
from tenancy.migrate.lint.finding import Level, Rule
from tenancy.migrate.lint.names import last_part
from tenancy.migrate.lint.pieces import Piece, name
from tenancy.migrate.lint.unit import Unit

_COPIES_DEFAULTS = re.compile(r"CREATE .*\bINCLUDING (ALL|DEFAULTS)\b", re.DOTALL)
_TYPE = re.compile(r"CREATE (TYPE|DOMAIN)\b")
_OWNERLESS = re.compile(r"(CREATE|ALTER) (TEMP |TEMPORARY )?SEQUENCE\b.*\bOWNED BY NONE\b")


def _shared_foreign_key(unit: Unit) -> Iterator[int]:
    for piece in unit.running:
        yield from (token.start for token in _shared_after(unit, piece, "REFERENCES"))


def _like_shared(unit: Unit) -> Iterator[int]:
    for piece in unit.running:
        if _COPIES_DEFAULTS.match(piece.words):
            yield from (token.start for token in _shared_after(unit, piece, "LIKE"))


def _shared_after(unit: Unit, piece: Piece, keyword: str) -> Iterator[Token]:
    """Yield what follows *keyword* and is a table of the shared schema, and not the tenant's."""
    for at, token in enumerate(piece.tokens[:-1]):
        if token.word == keyword:
            named = last_part(piece.tokens, at + 1)
            if name(named) in unit.around.shared_tables - unit.around.tenant_tables - unit.new:
                yield piece.tokens[at + 1]


def _tenant_type(unit: Unit) -> Iterator[int]:
    return (piece.start for piece in unit.running if _TYPE.match(piece.words))


def _ownerless_sequence(unit: Unit) -> Iterator[int]:
    return (piece.start for piece in unit.running if _OWNERLESS.match(piece.words))


RULES = (
    Rule(
        "shared-foreign-key",
        Level.WARNING,
        "the shared table then locks together with every tenant's: to change it waits for all of "
        "them, and to delete a row searches every tenant's table",
        "keep the key's value with a CHECK, or copy the few rows into each tenant; if the shared "
        "table is only ever added to, say lint:ignore with that reason",
        _shared_foreign_key,
    ),
    Rule(
        "like-shared",
        Level.ERROR,
        "copies the default of a serial column too, so that all tenants draw their numbers from "
        "the shared table's one sequence",
        "write the columns out, with GENERATED ALWAYS AS IDENTITY",
        _like_shared,
    ),
    Rule(
        "tenant-type",
        Level.WARNING,
        "each tenant gets a type of its own by this name: asyncpg looks it up once for each tenant "
        "and connection, and a statement cached for one tenant does not take another's",
        "make the type in the shared stage, or use text with a CHECK",
        _tenant_type,
    ),
    Rule(
        "ownerless-sequence",
        Level.WARNING,
        "a sequence that no column owns stays when its table goes, and is passed over where a "
        "column's sequences are copied",
        "OWNED BY <table>.<column>, or GENERATED ALWAYS AS IDENTITY",
        _ownerless_sequence,
    ),
)
