"""Whether two schemas hold the same: every row of every table, and where each sequence stands."""

import asyncpg

_TABLES = """
    SELECT quote_ident(c.relname) AS name FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'm', 'v') ORDER BY 1
"""
_SEQUENCES = """
    SELECT quote_ident(c.relname) AS name FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind = 'S' ORDER BY 1
"""


async def content(conn: asyncpg.Connection, schema: str) -> dict[str, list[str]]:
    """Every row as text, by table, view and partition; and the state of every sequence."""
    async with conn.transaction():
        await conn.execute(f"SET LOCAL search_path = {schema}, shared, pg_temp")
        await conn.execute("SET LOCAL extra_float_digits = 3")
        found = {}
        for row in await conn.fetch(_TABLES, schema):
            rows = await conn.fetch(f"SELECT t::text AS row FROM {row['name']} AS t")
            found[row["name"]] = sorted(str(one["row"]) for one in rows)
        for row in await conn.fetch(_SEQUENCES, schema):
            stands = await conn.fetchrow(f"SELECT last_value, is_called FROM {row['name']}")
            found[row["name"]] = [str(tuple(stands.values()))]
    return found
