"""The splitter beside the server: one statement after the other does what the whole text does."""

import random

import asyncpg
import pytest
from support.databases import Database

from tenancy.migrate.files.source import Source

_LITERALS = (
    "'a;b'", "'it''s; '", "E'\\';--'", "E'\\\\'", "e'a\\'' || 'b;'", "U&'\\0061;\\005c'",
    "''", "''';'''",
    "$$a;b$$", "$$'$$", "$t$a $$ ; $t$", "$t$ $T$ ; $t$", "$é$;'$é$", "'$$;'", "'--;'", "'/*;'",
    "'a'\n'b;'", "'a' -- it's;\n 'b;'", "E'a'\n'\\';'", "(1.5e3)::text", "(1)::text || ';'",
    "B'101'::text", "X'1F'::text", "'\u00a0;'", "'日;本'", "quote_ident('a;')", "'\\'",
    "(SELECT CASE WHEN true THEN ';' END)", "'{;}'::text[]::text",
    "(1-- ;\n+1)::text", "(2/* ; /* ' */ \" */*3)::text", "(ARRAY[';','$$'])[1]", "(- -1)::text",
)  # fmt: skip
_GAPS = (
    " ",
    "\n",
    "\t",
    " -- it's; \"\n",
    "/* ; */",
    "/* ' /* $$ */ ; */",
    "\r\n",
    "--\n",
    " --$$;\r",
)
_BODIES = (
    "BEGIN RETURN {}; END", "DECLARE x text := {}; BEGIN x := x; RETURN x; END",
    "BEGIN -- it's;\n IF true THEN RETURN {}; END IF; END",
)  # fmt: skip


class _Writer:
    """Writes texts of statements that all leave a trace in the table log."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.made = 0

    def gap(self) -> str:
        return "".join(self.random.choices(_GAPS, k=self.random.randint(1, 3)))

    def literal(self) -> str:
        return self.random.choice(_LITERALS)

    def insert(self, value: str) -> str:
        words = ["INSERT", "INTO", "log", "(v)", "VALUES", "(", value, ")"]
        return self.gap().join(words)

    def statement(self) -> str:
        self.made += 1
        name, value = f"f{self.made}", self.literal()
        choice = self.random.randrange(8)
        if choice == 0:
            tag, body = self.random.choice(["$f$", "$_1$"]), self.random.choice(_BODIES)
            head = f"CREATE FUNCTION {name}() RETURNS text LANGUAGE plpgsql AS{self.gap()}"
            return f"{head}{tag}{body.format(value)}{tag};{self.insert(f'{name}()')}"
        if choice == 1:
            body = f"SELECT CASE WHEN true THEN {value} END; SELECT {value}"
            return (
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS text LANGUAGE sql "
                f"BEGIN{self.gap()}ATOMIC {body}; END;{self.insert(f'{name}()')}"
            )
        if choice == 2:
            rule = f"({self.insert(value)};{self.gap()}{self.insert(value)})"
            return (
                f"CREATE TABLE {name} (a int);CREATE RULE r AS ON INSERT TO {name} DO ALSO {rule};"
                f"INSERT INTO {name} VALUES (1)"
            )
        if choice == 3:
            return f"DO{self.gap()}$do$ BEGIN {self.insert(value)}; {self.insert(value)}; END $do$"
        if choice == 4:
            return f"""CREATE TABLE "{name};--" ("a;'b" text DEFAULT '";')"""
        return self.insert(value)

    def text(self) -> str:
        ends = (";", ";;", " ; ", ";\n-- ;\n", ";/* ; */;")
        parts = [self.statement() for _ in range(self.random.randint(1, 6))]
        text = "".join(self.gap() + part + self.random.choice(ends) for part in parts)
        return text if self.random.random() < 0.7 else text.rstrip("; \n")


async def _traces(conn: asyncpg.Connection, statements: list[str]) -> list[tuple[object, ...]]:
    await conn.execute("BEGIN; CREATE TABLE log (n serial, v text)")
    try:
        for statement in statements:
            await conn.execute(statement)
        rows = await conn.fetch(
            "SELECT v FROM log UNION ALL SELECT relname FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
        )
        return [tuple(row) for row in rows]
    finally:
        await conn.execute("ROLLBACK")


@pytest.mark.timeout(600)  # in the long form
async def test_a_text_does_statement_by_statement_what_it_does_whole(
    empty_database: Database, seed: int, *, long: bool
) -> None:
    conn = await asyncpg.connect(empty_database.superuser_url)
    try:
        for number in range(1500 if long else 100):
            text = _Writer(seed + number).text().replace("\r\n", "\n").replace("\r", "\n")
            source = Source("a", text)
            whole = await _traces(conn, [text])
            assert await _traces(conn, [one.text for one in source.statements]) == whole, text
    finally:
        await conn.close()


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "SELECT (1; 2)", "'"])
async def test_what_the_server_cannot_read_is_no_less_wrong_in_parts(
    admin_dsn: str, text: str
) -> None:
    conn = await asyncpg.connect(admin_dsn)
    try:
        found = [await _fails(conn, one.text) for one in Source("a", text).statements]
        assert any(found) == await _fails(conn, text)
    finally:
        await conn.close()


async def _fails(conn: asyncpg.Connection, sql: str) -> bool:
    try:
        await conn.execute(sql)
    except asyncpg.PostgresSyntaxError:
        return True
    return False
