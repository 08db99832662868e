"""Relations and locks of this session's transaction, read from the catalogs.

Names are qualified with pg_catalog where a schema's own could stand before them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import asyncpg

from tenancy.migrate.rehearsal.records import BLOCKS, Blocks, Lock, Rewrite

_RELATIONS = """
    SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
           pg_catalog.pg_relation_filenode(c.oid) AS node, c.reltuples::float8 AS rows,
           i.indrelid AS indexed
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
    WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'm', 'f', 'i', 'I')
"""
_LOCKS = """
    SELECT l.relation AS oid, l.mode FROM pg_catalog.pg_locks AS l
    WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted
      AND l.relation = ANY ($1::oid[]) AND l.mode = ANY ($2::text[])
"""
_SIZE = "SELECT pg_catalog.pg_table_size($1::oid)"
_SEQUENCES = """
    SELECT c.oid, c.relname::text AS name, pg_catalog.pg_sequence_last_value(c.oid) AS value
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind = 'S'
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or an index as it was at one moment.

    Attributes:
        indexed: oid of the table that it is an index of.
    """

    oid: int
    schema: str
    name: str
    kind: str
    node: int | None
    rows: float
    indexed: int | None


@dataclass(slots=True)
class Sight:
    """What one transaction has done so far to relations that were there when it began.

    Attributes:
        schema: whose relations are named without it.
    """

    conn: asyncpg.Connection
    schema: str
    schemas: tuple[str, ...]
    known: dict[int, Relation] = field(default_factory=dict)
    nodes: dict[int, int | None] = field(default_factory=dict)
    held: dict[int, Blocks] = field(default_factory=dict)

    async def begin_file(self) -> None:
        """Look at what is there, before the first file; before the others nothing else is."""
        if not self.known:
            self.known = {one.oid: one for one in await self._relations()}
            self.nodes = {oid: one.node for oid, one in self.known.items()}

    async def locks(self) -> tuple[Lock, ...]:
        """Return the locks that were taken, or made harder, since the last look."""
        rows = await self.conn.fetch(_LOCKS, list(self.known), list(BLOCKS))
        found: list[Lock] = []
        tables_first = sorted(rows, key=lambda row: self.known[row["oid"]].indexed is not None)
        for row in sorted(tables_first, key=lambda row: -BLOCKS[row["mode"]]):
            relation, blocks = self.known[row["oid"]], BLOCKS[row["mode"]]
            if blocks <= self.held.get(relation.oid, Blocks.NOTHING):
                continue
            self.held[relation.oid] = blocks
            # An index is locked with its table; that tells enough.
            if self.held.get(relation.indexed or 0, Blocks.NOTHING) < blocks:
                found.append(Lock(self.named(relation), row["mode"]))
        return tuple(sorted(found, key=lambda lock: lock.table))

    async def changes(self) -> tuple[tuple[Rewrite, ...], tuple[str, ...]]:
        """Return what was rewritten, and which indexes were built, since the last look."""
        rewritten: list[Rewrite] = []
        built: list[str] = []
        for one in await self._relations():
            before = self.known.get(one.oid)
            if before is None and one.indexed in self.known:
                built.append(self.named(one))
                self.known[one.oid] = one
            elif before and one.indexed is None and one.node != self.nodes[one.oid]:
                size = await self.conn.fetchval(_SIZE, one.oid)
                rows = round(one.rows) if one.rows >= 0 else None
                rewritten.append(Rewrite(self.named(one), size, rows))
            if one.oid in self.known:
                self.nodes[one.oid] = one.node
        return tuple(rewritten), tuple(built)

    def named(self, relation: Relation) -> str:
        """Return its name; with its schema where that is not the tenant's."""
        own = relation.schema == self.schema
        return relation.name if own else f"{relation.schema}.{relation.name}"

    async def _relations(self) -> Iterable[Relation]:
        rows = await self.conn.fetch(_RELATIONS, list(self.schemas))
        return [Relation(**dict(row)) for row in rows]


async def sequences(conn: asyncpg.Connection, schema: str) -> dict[int, tuple[str, int]]:
    """Return the last value that each sequence of *schema* has given out; 0: none."""
    rows = await conn.fetch(_SEQUENCES, schema)
    return {row["oid"]: (row["name"], row["value"] or 0) for row in rows}
