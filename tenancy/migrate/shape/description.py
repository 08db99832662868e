"""A schema object by object, in the server's words and free of its own name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.fingerprint import gone

TENANT = "<tenant>"  # instead of the schema's own name

# A schema's name that means nothing else: a tenant's, or one of the migrator's own.
_TELLING = re.compile(r"(t|tenancy_scratch)_[a-z0-9_]+")
# What every object has, beside the aspects of its kind.
_COMMON = ("owner", "grants", "comment")


@dataclass(frozen=True, slots=True)
class Object:
    """One thing in a schema: a table, a column, a function.

    Attributes:
        kind, name: ``column`` and ``notes.body``; unique together with *parent* in a schema.
        parent: the table or type that it goes with; None: it stands by itself.
        aspects: what is to be said of it, by the name of each aspect; without what goes without
            saying, such as that an index is valid.
    """

    kind: str
    name: str
    parent: str | None
    aspects: Mapping[str, str]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from every other object of its schema."""
        return self.kind, self.name, self.parent or ""


async def describe(conn: asyncpg.Connection, schema: SchemaRef) -> tuple[Object, ...]:
    """Return everything in *schema*: that of which `fingerprint` is the digest.

    Objects of an extension are not, nor is the comment on the schema itself, which is the
    migrator's stamp.

    Raises:
        MigrationError: the schema does not exist.
    """
    rows = await conn.fetch("SELECT * FROM tenancy.description($1)", schema.oid)
    if not rows:
        raise gone(schema)
    return tuple(sorted((_object(row, schema.name) for row in rows), key=lambda one: one.key))


def _object(row: asyncpg.Record, own: str) -> Object:
    told = dict(zip(row["aspects"], row["texts"], strict=True))
    told |= {name: row[name] for name in _COMMON}
    aspects = {name: _nameless(text, own) for name, text in told.items() if text is not None}
    return Object(row["kind"], _nameless(row["name"], own), row["parent"], aspects)


def _nameless(text: str, own: str) -> str:
    """Return *text* without the schema's *own* name, as `fingerprint` takes it."""
    if own not in text or _TELLING.fullmatch(own) is None:
        return text
    return re.sub(rf"\b{own}\b", TENANT, text)
