"""The stamp in a schema's comment: `pg_dump -n` carries it, so a restored schema tells its version.

A comment of the user's own stays in front of it.
"""

import re

from tenancy.identifiers import constant, quoted
from tenancy.migrate.ledger.records import Move, SchemaRef

_STAMP = re.compile(r"(?:\A|\n)tenancy version=(?P<version>\S*) digest=(?P<digest>[0-9a-f]*)\Z")


def sql(schema: SchemaRef, comment: str, move: Move) -> str:
    """Return the SQL that stamps *schema*, whose comment is *comment*, with where *move* leads."""
    words = stamped(comment, move)
    return f"COMMENT ON SCHEMA {quoted(schema.name)} IS {constant(words) if words else 'NULL'}"


def stamped(comment: str, move: Move) -> str:
    """Return *comment* with the stamp of *move* instead of its old one; pure."""
    own = without(comment)
    if not move.after:
        return own
    stamp = f"tenancy version={move.version} digest={move.after}"
    return f"{own}\n{stamp}" if own else stamp


def without(comment: str) -> str:
    """Return what of *comment* is the user's own."""
    return _STAMP.sub("", comment)


def read(comment: str) -> tuple[str, str] | None:
    """Return version and digest of the stamp in *comment*, if there is one."""
    found = _STAMP.search(comment)
    return (found["version"], found["digest"]) if found else None
