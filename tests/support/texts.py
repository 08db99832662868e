"""SQL texts that begin in odd ways: for the admission of level strict."""

import random

# What level strict must not run, one of each kind, and what it must. Each runs on a server.
FORBIDDEN = (
    "SET LOCAL tenancy.scope = 'forged'",
    "RESET ROLE",
    "SHOW work_mem",
    "DO $$ BEGIN END $$",
    "COPY (SELECT 1) TO '/nowhere'",
    "CALL nothing()",
    "LISTEN planted",
    "UNLISTEN *",
    "NOTIFY planted",
    "PREPARE planted AS SELECT 1",
    "EXECUTE planted",
    "DEALLOCATE ALL",
    "DECLARE planted CURSOR FOR SELECT 1",
    "CLOSE ALL",
    "FETCH planted",
    "EXPLAIN SELECT 1",
    "LOCK TABLE pg_class",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "END",
    "ABORT",
    "SAVEPOINT planted",
    "RELEASE planted",
    "START TRANSACTION",
    "CREATE TABLE planted (id int)",
    "ALTER TABLE planted ADD x int",
    "DROP TABLE planted",
    "GRANT SELECT ON pg_class TO PUBLIC",
    "REVOKE ALL ON pg_class FROM PUBLIC",
    "TRUNCATE pg_class",
    "ANALYZE",
    "VACUUM",
    "DISCARD ALL",
    "CHECKPOINT",
    "LOAD 'planted'",
    "COMMENT ON TABLE pg_class IS 'planted'",
    "REINDEX SYSTEM x",
    "REFRESH MATERIALIZED VIEW x",
    "REASSIGN OWNED BY x TO y",
    "SECURITY LABEL ON TABLE x IS 'y'",
    "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z",
)
SUCCEEDING = (
    "SET LOCAL tenancy.scope = 'forged'",
    "RESET ROLE",
    "SHOW work_mem",
    "DO $$ BEGIN END $$",
    "LISTEN planted",
    "NOTIFY planted",
    "DEALLOCATE ALL",
    "EXPLAIN SELECT 1",
    "SAVEPOINT planted",
    "CREATE TABLE planted (id int)",
)  # of these: whatever the server is told before
HONEST = (
    "SELECT 1",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "((SELECT 1))",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "VALUES (1), (2)",
    "TABLE own",
    "INSERT INTO own VALUES (1)",
    "UPDATE own SET id = 2",
    "DELETE FROM own",
    "MERGE INTO own USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
    "SELECT'x'",
    'SELECT"id"FROM own',
    "SELECT*FROM own",
    "SELECT",
)

_BLANKS = (" ", "\t", "\n", "\r", "\f", "\r\n", "  ")
_PLAIN_COMMENTS = (
    "-- SELECT\n", "--\r", "-- /* \n", "--*/\n", "/* SELECT */", "/**/", "/***/", "/*/*/ */*/",
    "/*-- */", "/* /* SELECT */ */", "/*//**/*/", "/*\n*/", "/* ' */", "/* $$ */", '/* " */',
    "/* \N{NO-BREAK SPACE} */", "/* é\N{GRINNING FACE} */", "--\N{NEXT LINE} SELECT\n",
    "--\N{LINE SEPARATOR}SELECT\n",
)  # fmt: skip

# What some lexer, Python's or an editor's, takes for a blank, a line's end or a letter, and
# PostgreSQL does not.
_ODDITIES = (
    "\N{NO-BREAK SPACE}", "\N{NEXT LINE}", "\N{LINE SEPARATOR}", "\N{ZERO WIDTH SPACE}", "\ufeff",
    "\N{IDEOGRAPHIC SPACE}", "\v", "\x1c", "\x1f", "\x08", ";", "\\", "`", "#", "//", "-", "/", "*",
    "*/", "/*", "--", "'", '"', "$$", "E", "select", "SELECT ", "WITH", "(", ")", "@", "0", "é",
    "\N{LATIN SMALL LETTER LONG S}",
)  # fmt: skip


def prefix(rng: random.Random) -> str:
    """Return blanks and comments, before which and behind which a text means the same."""
    return "".join(
        rng.choice((rng.choice(_BLANKS), _comment(rng))) for _ in range(rng.randrange(4))
    )


def _comment(rng: random.Random, depth: int = 0) -> str:
    if rng.random() < 0.6:
        return rng.choice(_PLAIN_COMMENTS)
    if depth < 3 and rng.random() < 0.5:
        inner = _comment(rng, depth + 1)
        # Inside a block comment a line comment is none, and may hold an edge of one.
        return f"/*{inner}*/" if "--" not in inner else f"/* {rng.choice(_BLANKS)} */"
    return "/*" + "".join(rng.choice((" ", "select", "*", "\n", "-")) for _ in range(4)) + " */"


def cased(rng: random.Random, text: str) -> str:
    """Return *text* with its first word's letters in any case."""
    word = len(text) - len(text.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    return "".join(rng.choice((c.lower(), c)) for c in text[:word]) + text[word:]


def forbidden(rng: random.Random) -> str:
    """Return a statement that the server runs, and strict must not."""
    return prefix(rng) + cased(rng, rng.choice(FORBIDDEN)) + rng.choice(("", ";", " -- x"))


def honest(rng: random.Random) -> str:
    """Return a statement that the server runs, and strict must too."""
    return prefix(rng) + cased(rng, rng.choice(HONEST)) + rng.choice(("", ";", " -- x"))


def odd(rng: random.Random) -> str:
    """Return a text of which only the server can say what it is."""
    pieces = (*_ODDITIES, *_BLANKS, *_PLAIN_COMMENTS)
    beginning = "".join(rng.choice(pieces) for _ in range(rng.randrange(1, 5)))
    return beginning + cased(rng, rng.choice(SUCCEEDING + HONEST))
