"""Whether two schemas have the same objects, where one may name itself in what it says."""

import asyncpg

from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.dump import PLACEHOLDER

_DESCRIPTION = "SELECT kind, name, aspects, texts FROM tenancy.description($1)"

Objects = dict[tuple[str, str], dict[str, str | None]]


async def differences(
    conn: asyncpg.Connection,
    one: SchemaRef,
    other: SchemaRef,
    *,
    without: frozenset[str] = frozenset(),
) -> list[str]:
    """Return how *other* differs from *one*, a line for each object: its kind, name and aspects.

    A function may hold the name of the schema that it was made in: that is no difference.

    Args:
        conn: on the database of both.
        one: as it should be.
        other: as it is.
        without: tables that are passed over, with all that is theirs.
    """
    expected, found = await _objects(conn, one), await _objects(conn, other)
    return [
        line
        for key in sorted({*expected, *found})
        if not without & {key[1], key[1].partition(".")[0]}
        if (line := _difference(key, expected.get(key), found.get(key)))
    ]


async def _objects(conn: asyncpg.Connection, schema: SchemaRef) -> Objects:
    rows = await conn.fetch(_DESCRIPTION, schema.oid)
    return {
        (row["kind"], row["name"]): {
            aspect: text and text.replace(schema.name, PLACEHOLDER)
            for aspect, text in zip(row["aspects"], row["texts"], strict=True)
        }
        for row in rows
    }


def _difference(
    key: tuple[str, str],
    expected: dict[str, str | None] | None,
    found: dict[str, str | None] | None,
) -> str:
    name = " ".join(key).strip()
    if expected == found:
        return ""
    if expected is None or found is None:
        return f"{name} {'is missing' if found is None else 'should not be there'}"
    aspects = [aspect for aspect in expected if expected[aspect] != found.get(aspect)]
    return f"{name} differs in {', '.join(aspects)}"
