"""Questions to the catalogs that see all tenants at once."""

import re
from collections.abc import Iterator

from tenancy.migrate.lint.finding import EVERYWHERE, Level, Rule
from tenancy.migrate.lint.pieces import NAMING, Piece, name
from tenancy.migrate.lint.unit import Unit

_CATALOGS = re.compile(
    r"pg_(tables|class|type|constraint|indexes|index|proc|trigger|attribute|attrdef|enum|views"
    r"|matviews|sequences|sequence|policies|policy|rules|stats|stat_(all|user)_(tables|indexes)"
    r"|statio_(all|user)_tables)"
)
_BEFORE = {"FROM", "JOIN", ",", "ONLY"}
# One of these in the same question ties it to one schema, or to one object.
_SCOPE = re.compile(
    r"schemaname|nspname|[a-z]+namespace|[a-z]+_schema|current_schemas?|to_reg[a-z]+|reg[a-z]+"
    r"|pg_[a-z]+_is_visible|tg_relid|pg_get_serial_sequence"
)


def _catalog_probe(unit: Unit) -> Iterator[int]:
    for piece in unit.pieces:
        named = [name(token) for token in piece.tokens if token.kind in NAMING]
        if not any(_SCOPE.fullmatch(one) for one in named if one != "information_schema"):
            yield from _asked(piece)


def _asked(piece: Piece) -> Iterator[int]:
    """Yield the first catalog that *piece* asks about objects of all schemas."""
    tokens = piece.tokens
    for at, token in enumerate(tokens):
        if token.kind not in NAMING or at == 0 or tokens[at - 1].word not in _BEFORE:
            continue
        dotted = at + 2 < len(tokens) and tokens[at + 1].text == "."
        relation = tokens[at + 2] if dotted else token
        of_standard = dotted and name(token) == "information_schema"
        if of_standard or (relation.kind in NAMING and _CATALOGS.fullmatch(name(relation))):
            yield token.start
            return


RULES = (
    Rule(
        "catalog-probe",
        Level.ERROR,
        "asks the catalog about all schemas: the answer is right in the first tenant, and in the "
        "second it is the first one's",
        "ask to_regclass('name') or to_regtype('name'), or add AND schemaname = current_schema() "
        "(table_schema, relnamespace = current_schema()::regnamespace)",
        _catalog_probe,
        EVERYWHERE,
    ),
)
