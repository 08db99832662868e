"""Whether schemas that were given the same files have the same shape."""

from dataclasses import dataclass, field

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.ledger import fingerprints
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.fingerprint import fingerprint

# To read a shape takes as long as several files: 2 ms for 2 tables, 7 for 30, 18 for 100.
ONE_IN = 100


@dataclass(slots=True)
class Shapes:
    """Compares schemas that a run has brought up with those that have the same files.

    Attributes:
        one_in: how many of them are looked at; 1: each one, 0: none. The first, which is the
            canary's, always is.
    """

    one_in: int = ONE_IN
    _counted: int = 0
    _usual: dict[str, tuple[str, int]] = field(default_factory=dict)

    def wanted(self) -> bool:
        """Whether the next schema is one to look at; counts it."""
        self._counted += 1
        return self.one_in > 0 and (self._counted - 1) % self.one_in == 0

    async def look(self, conn: asyncpg.Connection, schema: SchemaRef, version: str) -> str:
        """Keep the fingerprint of *schema*, which stands at *version*; return how it differs.

        Empty: it does not; nor where the schema has gone on or was dropped meanwhile.
        """
        try:
            found = await fingerprint(conn, schema)
        except MigrationError:
            return ""
        digest = await fingerprints.keep(conn, schema, version, found)
        if digest is None:
            return ""
        if digest not in self._usual:
            self._usual[digest] = await fingerprints.usual(conn, schema, digest) or (found, 0)
        usual, others = self._usual[digest]
        if found == usual:
            self._usual[digest] = usual, others + 1
            return ""
        return f"shape differs from {others} others that have the same files"
