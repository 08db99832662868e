"""What level strict forbids to honest code, the error it gets, and what to write in its place.

tests/isolation/test_strict.py runs each line; tests/support/papers.py prints them in
SECURITY.md.
"""

from typing import NamedTuple


class Forgone(NamedTuple):
    """One line of the table: Python in a block that has *conn*, *file* and a coroutine *sink*."""

    call: str
    error: str
    instead: str


_REFUSED = "StatementRefusedError"
_LACKING = "InsufficientPrivilegeError"

FORGONE = (
    Forgone('conn.execute("DELETE FROM notes; SELECT 1")', "PostgresSyntaxError",
            "a call for each statement"),
    Forgone('conn.execute("; SELECT 1")', _REFUSED, "no semicolon in front"),
    Forgone('conn.execute("SET LOCAL statement_timeout = 500")', _REFUSED,
            "asyncpg's `timeout=0.5`"),
    Forgone("conn.fetchval(\"SELECT set_config('app.user', '7', true)\")", _LACKING,
            "a parameter of the query"),
    Forgone('conn.fetchval("SHOW work_mem")', _REFUSED,
            "`SELECT current_setting('work_mem')`"),
    Forgone('conn.execute("DO $$ BEGIN PERFORM 1; END $$")', _REFUSED,
            "a function, made by a migration"),
    Forgone('conn.execute("CALL tidy()")', _REFUSED, "a function, and SELECT"),
    Forgone('conn.fetch("EXPLAIN SELECT 1")', _REFUSED, "the owner's connection"),
    Forgone('conn.copy_records_to_table("notes", records=[("a",)], columns=["body"])', _REFUSED,
            "`executemany`, or INSERT from `unnest($1::text[])`"),
    Forgone('conn.copy_to_table("notes", source=file, columns=["body"])', _REFUSED,
            "the same"),
    Forgone('conn.copy_from_table("notes", output=sink)', _REFUSED, "`conn.cursor(...)`"),
    Forgone('conn.copy_from_query("SELECT 1", output=sink)', _REFUSED, "`conn.cursor(...)`"),
    Forgone('conn.execute("CREATE TEMP TABLE found (id int)")', _REFUSED, "a WITH query"),
    Forgone('conn.execute("SELECT 1 AS id INTO found")', _LACKING, "a table, made by a migration"),
    Forgone('conn.execute("TRUNCATE notes")', _REFUSED, "DELETE"),
    Forgone('conn.execute("LOCK TABLE notes")', _REFUSED, "`SELECT ... FOR UPDATE`"),
    Forgone('conn.fetchval("SELECT pg_advisory_xact_lock(1)")', _LACKING,
            "`SELECT ... FOR UPDATE` of a row"),
    Forgone('conn.execute("DECLARE c CURSOR FOR SELECT 1")', _REFUSED, "`conn.cursor(...)`"),
    Forgone('conn.execute("PREPARE p AS SELECT 1")', _REFUSED, "`conn.prepare(...)`"),
    Forgone('conn.execute("SAVEPOINT mine")', _REFUSED, "`conn.transaction()`"),
    Forgone('conn.execute("SET CONSTRAINTS ALL IMMEDIATE")', _REFUSED,
            "nothing: the block's end checks them"),
    Forgone('conn.add_listener("news", sink)', _REFUSED, "a connection of your own"),
    Forgone("conn.execute(\"NOTIFY news, 'x'\")", _REFUSED,
            "a trigger whose function is SECURITY DEFINER"),
    Forgone("conn.fetchval(\"SELECT pg_notify('news', 'x')\")", _LACKING, "the same"),
    Forgone("conn.fetchval(\"SELECT lo_from_bytea(0, 'x')\")", _LACKING, "a column of type bytea"),
    Forgone('conn.fetch("SELECT * FROM ts_stat(\'SELECT NULL::tsvector\')")', _LACKING,
            "a query of your own"),
    Forgone('conn.fetchval("SELECT query_to_xml(\'SELECT 1\', true, false, \'\')")', _LACKING,
            "`xmlagg`, `xmlelement`"),
    Forgone('conn.fetchval("SELECT pg_sleep(0.1)")', _LACKING, "`asyncio.sleep`"),
    Forgone('conn.fetch("SELECT * FROM pg_prepared_statements")', _LACKING,
            "the owner's connection"),
)  # fmt: skip


def table() -> str:
    """Return the table of SECURITY.md."""
    lines = ["| in a block | raises | in its place |", "|---|---|---|"]
    lines += [f"| `{line.call}` | `{line.error}` | {line.instead} |" for line in FORGONE]
    return "\n".join(lines) + "\n"
