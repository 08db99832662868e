"""A schema object by object, in the server's words and free of its own name."""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.fingerprint import gone

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


async def describe(
    conn: asyncpg.Connection, schema: SchemaRef, *, tenant: str | None = None
) -> tuple[Object, ...]:
    """Return everything in *schema*: that of which `fingerprint` is the digest.

    Objects of an extension are not, nor is the comment on the schema itself, which is the
    migrator's stamp.

    Raises:
        MigrationError: the schema does not exist.
    """
    rows = await conn.fetch(
        "SELECT * FROM tenancy.description($1, pg_catalog.to_regrole(pg_catalog.quote_ident($2)))",
        schema.oid,
        tenant,
    )
    if not rows:
        raise gone(schema)
    return tuple(sorted(map(_object, rows), key=lambda one: one.key))


def _object(row: asyncpg.Record) -> Object:
    told = dict(zip(row["aspects"], row["texts"], strict=True))
    told |= {name: row[name] for name in _COMMON}
    aspects = {name: text for name, text in told.items() if text is not None}
    return Object(row["kind"], row["name"], row["parent"], aspects)
