"""What reaches out of the schema that the file runs in."""

import re
from collections.abc import Iterator

from tenancy.identifiers import CATALOG_SCHEMA
from tenancy.migrate.files.splitter import Kind
from tenancy.migrate.lint.finding import EVERYWHERE, Level, Rule
from tenancy.migrate.lint.names import qualified
from tenancy.migrate.lint.pieces import NAMING, Piece, name, string
from tenancy.migrate.lint.unit import Unit

_OURS = {"new", "old", "excluded", "pg_catalog", "information_schema", "pg_temp", "pg_toast"}
_TENANTS = re.compile(r"t_[a-z0-9_]+_[a-z0-9]{6}")  # as identifiers.schema_name makes them
_SCHEMA_COLUMN = re.compile(r"[a-z]+_schema|schemaname|nspname")

_CLUSTER = re.compile(
    r"(CREATE|ALTER|DROP|COMMENT ON) (OR REPLACE )?"
    r"(ROLE|USER|GROUP|DATABASE|TABLESPACE|EVENT TRIGGER|PUBLICATION|SUBSCRIPTION|CAST|SERVER"
    r"|(TRUSTED )?(PROCEDURAL )?LANGUAGE|ACCESS METHOD|FOREIGN DATA WRAPPER|TRANSFORM|SCHEMA"
    r"|EXTENSION)\b"
    r"|(ALTER SYSTEM|REASSIGN OWNED|DROP OWNED|IMPORT FOREIGN SCHEMA)\b"
)
_RIGHTS = re.compile(
    r"GRANT\b|REVOKE (?!.*\bFROM PUBLIC\b)|ALTER DEFAULT PRIVILEGES\b|ALTER .+ OWNER TO\b"
)
_NOTIFY = re.compile(r"(NOTIFY|LISTEN|UNLISTEN)\b")


def _other_schema(unit: Unit) -> Iterator[int]:
    for piece in unit.pieces:
        for found in qualified(piece):
            if found.schema in _OURS or found.schema == unit.around.shared_schema:
                continue
            known = found.schema in {"public", CATALOG_SCHEMA} or _TENANTS.fullmatch(found.schema)
            if found.sure or known:
                yield found.start
        yield from _compared(piece)
        if piece.words.startswith("ALTER ") and " SET SCHEMA " in piece.words:
            yield piece.start


def _compared(piece: Piece) -> Iterator[int]:
    """Yield the strings that a column with a schema's name is compared with."""
    for at, token in enumerate(piece.tokens):
        if token.kind in NAMING and _SCHEMA_COLUMN.fullmatch(name(token)):
            after = [t for t in piece.tokens[at + 1 : at + 4] if t.word not in {"=", "(", "IN"}]
            named = after[:1] and after[0].kind is Kind.STRING and string(after[0])
            if named and named not in _OURS:
                yield after[0].start


def _cluster_object(unit: Unit) -> Iterator[int]:
    return (piece.start for piece in unit.running if _CLUSTER.match(piece.words))


def _rights(unit: Unit) -> Iterator[int]:
    return (piece.start for piece in unit.running if _RIGHTS.match(piece.words))


def _notification(unit: Unit) -> Iterator[int]:
    for piece in unit.pieces:
        if _NOTIFY.match(piece.words):
            yield piece.start
        for first, third in zip(piece.tokens, piece.tokens[2:], strict=False):
            if first.word == "PG_NOTIFY" and third.kind is Kind.STRING:
                yield first.start


RULES = (
    Rule(
        "other-schema",
        Level.ERROR,
        "names another schema: every tenant's file would write or read there, not in its own",
        "write the name without a schema: the path finds the tenant's own first, then the shared "
        "schema's; where a catalog is asked, compare with current_schema()",
        _other_schema,
        EVERYWHERE,
    ),
    Rule(
        "cluster-object",
        Level.ERROR,
        "this exists once in the database or the cluster: it is there already when the second "
        "tenant's turn comes, and gone for all when one drops it",
        "move it to the shared stage, which runs once",
        _cluster_object,
    ),
    Rule(
        "rights",
        Level.ERROR,
        "who may use a tenant's tables is what keeps tenants apart, and the roles have other names "
        "in each tenant",
        "remove it: a new table gets its rights from the schema (REVOKE ... FROM PUBLIC may stay)",
        _rights,
    ),
    Rule(
        "notification",
        Level.WARNING,
        "a channel belongs to the whole database: who listens for one tenant hears all of them",
        "make the channel's name from current_schema(), as in "
        "pg_notify(current_schema() || '_orders', ...), or send nothing but the schema's name",
        _notification,
    ),
)
