"""SQL texts told apart by how they begin, as PostgreSQL's own lexer reads them; pure.

No parser: a statement's kind is its first token (PostgreSQL, "Lexical Structure"), and what may
follow is the server's to judge.
"""

import re

from tenancy.errors import StatementRefusedError

ADMITTED = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE")

# Told in an error. Only a word of this list is: what a text begins with may be a client's.
_COMMANDS = """
    ABORT ALTER ANALYZE BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE
    DECLARE DISCARD DO DROP END EXECUTE EXPLAIN FETCH GRANT IMPORT LISTEN LOAD LOCK MOVE NOTIFY
    PREPARE REASSIGN REFRESH REINDEX RELEASE RESET REVOKE ROLLBACK SAVEPOINT SECURITY SET SHOW START
    TRUNCATE UNLISTEN VACUUM
"""
COMMANDS = frozenset(_COMMANDS.split())

# PostgreSQL's own whitespace (\v from 16 on) and line ends; Python's \s and . know others, and
# where the two disagree a text would begin elsewhere for us than for the server.
_BLANK = re.compile(r"(?:[ \t\n\r\f\v]+|--[^\n\r]*)*")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_WORD = re.compile(r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*", re.ASCII)

# A text that begins so and holds no second statement cannot PREPARE. In parentheses only a query
# can stand.
_PLAIN = re.compile(
    rf"[ \t\n\r\f\v]*(?:\(|(?:{'|'.join(ADMITTED)})(?![\w$\x80-\U0010ffff]))",
    re.IGNORECASE | re.ASCII,
)

_COPY_FROM_STDIN = re.compile(r"(?:^|;)\s*copy\b[^;]*\bfrom\s+stdin\b", re.IGNORECASE)

UNIQUE_NAME = "__tenancy_{}_{}__"  # of asyncpg's statements, portals and savepoints

# What asyncpg itself sends for conn.transaction() inside a transaction.
_ASYNCPGS_OWN = re.compile(
    r"(?:SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO) "
    rf"{UNIQUE_NAME.format('savepoint', '[0-9a-f]+')};"
    r"|SHOW transaction_isolation;"
)


def is_plain(sql: str) -> bool:
    """Whether *sql* begins as a query or a change of rows; false negatives behind a comment."""
    return _PLAIN.match(sql) is not None


def is_empty(sql: str) -> bool:
    """Whether *sql* holds no statement at all: blanks, comments and semicolons."""
    at = 0
    while not _PLAIN.match(sql, at):
        at = _first_token(sql, at)
        if at == len(sql):
            return True
        if sql[at] != ";":
            return False
        at += 1
    return False


def copies_from_stdin(sql: str) -> bool:
    """Whether the server would wait for data that `execute` never sends."""
    return _COPY_FROM_STDIN.search(sql) is not None


def is_asyncpgs_own(sql: str) -> bool:
    """Whether *sql* is, to the letter, what asyncpg sends for a savepoint."""
    return _ASYNCPGS_OWN.fullmatch(sql) is not None


def admit(sql: str) -> None:
    """Refuse every statement at level ``strict`` but queries and changes of rows.

    The first token tells, after blanks and comments, nested ones too. Whoever sends *sql* on must
    do so by the extended protocol, which takes one statement alone.

    Raises:
        StatementRefusedError: says what kind of statement it is, and nothing else of it.
    """
    if _PLAIN.match(sql) or _PLAIN.match(sql, _first_token(sql)) or is_asyncpgs_own(sql):
        return
    raise StatementRefusedError(
        f"level strict runs {', '.join(ADMITTED)} alone, and this is {_kind(sql)}: leave it to a "
        "migration, or see in SECURITY.md what to write in its place"
    )


def _first_token(sql: str, at: int = 0) -> int:
    """Return where the first token at or after *at* begins; the text's length if there is none."""
    while True:
        at = _past_blanks(sql, at)
        if not sql.startswith("/*", at):
            return at
        depth = 0
        for edge in _COMMENT_EDGE.finditer(sql, at):
            depth += 1 if edge[0] == "/*" else -1
            if not depth:
                at = edge.end()
                break
        else:
            return len(sql)


def _past_blanks(sql: str, at: int) -> int:
    blanks = _BLANK.match(sql, at)
    return blanks.end() if blanks else at


def _kind(sql: str) -> str:
    word = _WORD.match(sql, _first_token(sql))
    if word and word[0].upper() in COMMANDS:
        return word[0].upper()
    return "none of these"
