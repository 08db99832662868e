"""What is wrong with a schema whatever the others have, by the server's own catalogs."""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

# Sets only: each reads a catalog once, however many tenants there are.
_FLAWS = """
    SELECT c.relnamespace AS schema_oid, x.relname::text AS name, 'index' AS kind,
           'is not valid: drop it and build it again' AS what
    FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid
    JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
    WHERE NOT i.indisvalid AND c.relkind IN ('r', 'm') AND c.relnamespace = ANY ($1::oid[])
    UNION ALL
    SELECT k.connamespace, r.relname || '.' || k.conname, 'constraint',
           'is not validated: ALTER TABLE ... VALIDATE CONSTRAINT'
    FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_class AS r ON r.oid = k.conrelid
    WHERE NOT k.convalidated AND k.connamespace = ANY ($1::oid[])
      AND coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true'
    UNION ALL
    SELECT c.relnamespace, c.relname::text, 'table',
           'is owned by another login than its schema: ALTER TABLE ... OWNER TO'
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relowner <> n.nspowner AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND c.relnamespace = ANY ($1::oid[])
    ORDER BY 1, 2
"""


class Flaw(NamedTuple):
    """Something in a schema that is not as it should be, whatever the others have."""

    schema_oid: int
    name: str
    kind: str
    what: str


async def flaws(conn: asyncpg.Connection, oids: Sequence[int]) -> list[Flaw]:
    """Return invalid indexes, constraints that are not validated, and what others own."""
    return [Flaw(*row.values()) for row in await conn.fetch(_FLAWS, list(oids))]
