"""Whether two schemas have the same objects, where one may name itself in what it says."""

from dataclasses import replace

import asyncpg

from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.description import Object, describe
from tenancy.migrate.shape.differences import Difference
from tenancy.migrate.shape.differences import differences as compared
from tenancy.migrate.shape.dump import PLACEHOLDER

_RIGHTS = frozenset({"owner", "grants"})
_OF_RIGHTS = frozenset({"schema", "default privileges"})


async def differences(
    conn: asyncpg.Connection,
    found: SchemaRef,
    made: SchemaRef,
    *,
    without: frozenset[str] = frozenset(),
    rights: bool = True,
) -> tuple[Difference, ...]:
    """Return in what the schema *found* (here) differs from *made*, which the files have made.

    A function may hold the name of the schema that it was made in: that is no difference.

    Args:
        conn: on the database of both.
        found: as it is.
        made: as it should be.
        without: tables that are passed over, with all that is theirs.
        rights: whether owners and grants have to be alike too.
    """
    sides = [
        [
            _comparable(one, schema.name, _RIGHTS if not rights else frozenset())
            for one in await describe(conn, schema)
            if rights or one.kind not in _OF_RIGHTS
            if not without & _tables(one)
        ]
        for schema in (found, made)
    ]
    return compared(*sides)


def _comparable(one: Object, schema: str, passed: frozenset[str]) -> Object:
    aspects = {
        name: text.replace(schema, PLACEHOLDER)
        for name, text in one.aspects.items()
        if name not in passed
    }
    return replace(one, aspects=aspects)


def _tables(one: Object) -> set[str]:
    """Return the names that an object is left out with: its own, and its table's."""
    return {one.name, one.parent or "", one.aspects.get("owned by", "").partition(".")[0]}
