"""A schema's definitions as SQL that makes them in any other schema: its name is taken out; pure.

pg_dump knows every kind of object and the order in which they can be made; nothing here does.
"""

import re
from collections.abc import Iterator

from tenancy.errors import DatabaseSetupError
from tenancy.migrate.files.splitter import Kind, Token, split, tokens

# Stands for the schema's name where a definition needs it: in a constant, or in a function's body.
PLACEHOLDER = "__tenancy_schema__"

_RESTRICT = re.compile(r"^\\restrict (\S+)$", re.MULTILINE)  # since the minor releases of 2025
_REGISTERED = re.compile(r"reg[a-z]+")
_NOT_ITS_OBJECTS = re.compile(
    r"SET (?!DEFAULT_)|SELECT PG_CATALOG SET_CONFIG|CREATE SCHEMA|COMMENT ON SCHEMA"
)
_STORAGE = re.compile(r"SET (default_tablespace|default_table_access_method) = (.*)", re.DOTALL)
_USUAL = {"''", "heap"}


def statements(dump: str, schema: str, shared: str, *, certain: bool = True) -> list[str]:
    """Return the statements in the text of a *dump* that make the objects of *schema*.

    Args:
        dump: pg_dump's.
        schema: its name as an SQL identifier.
        shared: the shared schema's: a function made FROM CURRENT, under the path of a tenant's
            files, is so again.
        certain: whether the name is so unguessable that it means the schema wherever it stands, or
            only in front of a point.

    Raises:
        DatabaseSetupError: it holds `PLACEHOLDER` already.
    """
    if PLACEHOLDER in dump:
        raise DatabaseSetupError(f"the files use the name {PLACEHOLDER}, which tenancy needs")
    if key := _RESTRICT.search(dump):
        dump = dump.replace(f"\\restrict {key[1]}\n", "").replace(f"\\unrestrict {key[1]}\n", "")
    found = [one for one in split(tokens(dump)) if not _NOT_ITS_OBJECTS.match(one.words)]
    # Last, or a view that is filled would miss what the rows' own owner is not shown.
    found.sort(key=lambda one: one.words.endswith("ENABLE ROW LEVEL SECURITY"))
    texts = [nameless(one.text, schema, shared, certain=certain) for one in found]
    storage = [match[2] for text in texts if (match := _STORAGE.fullmatch(text))]
    if {*storage} <= _USUAL:
        return [text for text in texts if not _STORAGE.fullmatch(text)]
    return [re.sub(r"\ASET (?=default_)", "SET LOCAL ", text) for text in texts]


def nameless(statement: str, schema: str, shared: str, *, certain: bool = True) -> str:
    """Return *statement* without the name of *schema*, for a path on which that comes first.

    Args:
        statement: pg_dump's.
        schema: its name as an SQL identifier.
        shared: as for `statements`.
        certain: whether it means the schema wherever it stands, or only in front of a point.
    """
    if schema not in statement:
        return statement
    path = f"SET search_path TO '{schema}', '{shared}', 'pg_temp'"
    text = statement.replace(path, "SET search_path FROM CURRENT")
    name = PLACEHOLDER if certain else schema
    return "".join(_nameless(list(tokens(text)), schema, name))


def _nameless(pieces: list[Token], schema: str, name: str) -> Iterator[str]:
    for at, token in enumerate(pieces):
        after = [piece.text for piece in pieces[at + 1 : at + 4]]
        qualifier = token.text == schema and after[:1] == ["."]
        if qualifier or (token.text == "." and at and pieces[at - 1].text == schema):
            continue
        text = token.text
        if token.kind is Kind.STRING and _names_an_object(after):
            text = text.replace(f"{schema}.", "")
        yield text.replace(schema, name)


def _names_an_object(after: list[str]) -> bool:
    """Whether the constant before *after* does, as in ``'notes_id_seq'::regclass``."""
    return after[:2] == [":", ":"] and bool(_REGISTERED.fullmatch("".join(after[2:])))
