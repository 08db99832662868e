"""Which canaries are in whose rows."""

import asyncio

import asyncpg

from tenancy.identifiers import literal
from tenancy.leakcheck.canaries import TEXT_PATTERN
from tenancy.leakcheck.filling import Filler

Found = dict[int, set[tuple[str, str]]]  # tenant -> (table, word)


class Scanner:
    """Reads every text canary out of the tables, as their owner."""

    def __init__(self, conn: asyncpg.Connection, filler: Filler) -> None:
        self._conn = conn
        self._filler = filler

    async def quiet(self, expected: int, seconds: float) -> None:
        """Wait until no more sessions are here than the *expected* ones of the application.

        One that was broken off may still be committing, although its client has closed it.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            others = await self._conn.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND usename IS NOT NULL AND pid <> pg_backend_pid()"
            )
            if others <= expected:
                return
            await asyncio.sleep(0.005)

    async def scan(self) -> Found:
        """Return the canaries in the rows of each tenant."""
        found: Found = {tenant.number: set() for tenant, _ in self._filler.tenants}
        for tenant, tables in self._filler.tenants:
            parts, arguments = [], []
            for table in tables:
                where = ""
                if self._filler.tenant_column:
                    column = table.column(self._filler.tenant_column)
                    if column is None:
                        continue
                    arguments.append(await self._filler.identity(tenant, column, table))
                    where = f" WHERE t.{column.quoted}::text = ${len(arguments)}"
                parts.append(
                    f"SELECT {literal(table.name)} AS name, t::text AS row "
                    f"FROM {table.quoted} t{where}"
                )
            if parts:
                rows = await self._conn.fetch(
                    "SELECT DISTINCT name, lower(word[1]) AS word FROM ("
                    f"{' UNION ALL '.join(parts)}) AS rows, "
                    f"regexp_matches(row, {literal(TEXT_PATTERN)}, 'gi') AS word",
                    *arguments,
                )
                found[tenant.number] = {(row["name"], row["word"]) for row in rows}
        return found
