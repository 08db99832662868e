"""SQL text into statements: what the server would read as one, and nothing lost."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenancy.migrate.files.splitter import Kind, line_column, split, tokens

calm = settings(deadline=None)  # other tests may keep the machine busy

# Text made of the pieces that matter, as well as any text at all.
_PIECES = st.sampled_from(
    [
        *("'", '"', "''", "E'", "\\", "$$", "$a$", "$1", "a$b$", "--", "\n", "\r", "/*", "*/", ";"),
        *("(", ")", "BEGIN", "ATOMIC", "END", "CASE", "CREATE FUNCTION", " ", "x", "1", "\t"),
        *("é", "\u00a0", "日本"),
    ]
)
_TEXT = st.one_of(st.text(), st.lists(_PIECES, max_size=40).map("".join))

# What may stand between quotes and holds, or may hold, a semicolon.
_INNER = st.text(alphabet=st.sampled_from(";a -\n/*é$\"'\\"), max_size=12)


def _texts(sql: str) -> list[str]:
    return [statement.text for statement in split(tokens(sql))]


@calm
@given(_TEXT)
@example("E'\\")
@example("/*/*")
@example("E'a'\n--'\n'b\\';'")
def test_the_tokens_joined_are_the_text(sql: str) -> None:
    assert "".join(token.text for token in tokens(sql)) == sql


@calm
@given(_TEXT)
def test_every_token_starts_where_it_says(sql: str) -> None:
    assert all(sql.startswith(token.text, token.start) for token in tokens(sql))


@calm
@given(_TEXT)
def test_between_statements_lies_nothing_but_comments_blanks_and_semicolons(sql: str) -> None:
    end = 0
    for statement in split(tokens(sql)):
        assert sql[statement.start :].startswith(statement.text)
        assert _is_nothing(sql[end : statement.start])
        end = statement.start + len(statement.text)
    assert _is_nothing(sql[end:])


def _is_nothing(gap: str) -> bool:
    return all(token.silent or token.text == ";" for token in tokens(gap))


@calm
@given(_INNER)
def test_a_semicolon_in_a_string_splits_nothing(inner: str) -> None:
    quoted = "'" + inner.replace("'", "''") + "'"
    assert _texts(f"SELECT {quoted}; SELECT 2") == [f"SELECT {quoted}", "SELECT 2"]


@calm
@given(_INNER)
def test_a_semicolon_in_an_escape_string_splits_nothing(inner: str) -> None:
    quoted = "E'" + inner.replace("\\", "\\\\").replace("'", "\\'") + "'"
    assert _texts(f"SELECT {quoted}; SELECT 2") == [f"SELECT {quoted}", "SELECT 2"]


@calm
@given(_INNER)
def test_a_semicolon_in_a_quoted_name_splits_nothing(inner: str) -> None:
    quoted = '"' + inner.replace('"', '""') + '"'
    assert _texts(f"SELECT {quoted}; SELECT 2") == [f"SELECT {quoted}", "SELECT 2"]


@calm
@given(_INNER, st.sampled_from(["", "a", "_1", "é"]))
def test_a_semicolon_in_a_dollar_string_splits_nothing(inner: str, tag: str) -> None:
    body = inner.replace("$", "")
    quoted = f"${tag}${body}${tag}$"
    assert _texts(f"SELECT {quoted}; SELECT 2") == [f"SELECT {quoted}", "SELECT 2"]


@calm
@given(_INNER, st.integers(min_value=1, max_value=5))
def test_a_semicolon_in_nested_comments_splits_nothing(inner: str, depth: int) -> None:
    comment = "/*" * depth + inner.replace("*", "").replace("/", "") + "*/" * depth
    assert _texts(f"SELECT 1 {comment} + 1; SELECT 2") == [f"SELECT 1 {comment} + 1", "SELECT 2"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (" ;; -- ;\n /* ; */ ;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1 -- ;\n; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT $1$a$;$a$; SELECT 2", ["SELECT $1$a$;$a$", "SELECT 2"]),
        ("SELECT 1$a$;$a$; SELECT 2", ["SELECT 1$a$;$a$", "SELECT 2"]),
        ("SELECT 1e5$a$; SELECT 2", ["SELECT 1e5$a$", "SELECT 2"]),
        ("SELECT a$b$; SELECT 2", ["SELECT a$b$", "SELECT 2"]),
        ("SELECT typE'a\\'; SELECT 2", ["SELECT typE'a\\'", "SELECT 2"]),
        ("SELECT U&'\\'; SELECT 2", ["SELECT U&'\\'", "SELECT 2"]),
        ("SELECT E'a'\n  'b\\';'; SELECT 2", ["SELECT E'a'\n  'b\\';'", "SELECT 2"]),
        ("SELECT E'a' -- it's\n 'b\\';'; x", ["SELECT E'a' -- it's\n 'b\\';'", "x"]),
        ("SELECT\u00a0; x", ["SELECT\u00a0", "x"]),  # no blank, but a letter, to PostgreSQL
        (
            "CREATE RULE r AS ON INSERT TO t DO (a; b); x",
            ["CREATE RULE r AS ON INSERT TO t DO (a; b)", "x"],
        ),
        ("SELECT ); x", ["SELECT )", "x"]),
        ("SELECT ) (a; b); x", ["SELECT ) (a; b)", "x"]),
        ("\u00a0; x", ["\u00a0", "x"]),
    ],
)
def test_statements_end_where_the_server_ends_them(sql: str, expected: list[str]) -> None:
    assert _texts(sql) == expected


@pytest.mark.parametrize("head", ["CREATE FUNCTION f()", "create or replace procedure p (a int)"])
@pytest.mark.parametrize(
    "body",
    [
        "BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "begin atomic select case when a then 1 else 2 end; select 3; end",
        "BEGIN /* ; */ ATOMIC SELECT (CASE WHEN a THEN 1 END); SELECT 'END;'; END",
        "BEGIN ATOMIC SELECT 1 AS end; SELECT t.case; SELECT 2; END",
        "BEGIN ATOMIC END",
    ],
)
def test_a_body_begin_atomic_is_one_statement(head: str, body: str) -> None:
    assert _texts(f"{head} {body}; COMMIT") == [f"{head} {body}", "COMMIT"]


def test_begin_ends_at_its_semicolon_outside_a_function() -> None:
    assert _texts("BEGIN; ATOMIC; END") == ["BEGIN", "ATOMIC", "END"]
    assert _texts("CREATE TABLE t (a int); BEGIN ATOMIC; x") == [
        "CREATE TABLE t (a int)",
        "BEGIN ATOMIC",
        "x",
    ]


@pytest.mark.parametrize("sql", ["'a", "E'a\\'", '"a', "$$a", "$t$a$$", "/* /* */", "E'\\"])
def test_what_never_ends_is_told(sql: str) -> None:
    assert [token.closed for token in tokens(sql)] == [False]


def test_words_are_in_upper_case_and_quoted_names_as_written() -> None:
    (statement,) = split(tokens('set LOCAL "Search_path" to $$a$$, b'))
    assert statement.words == 'SET LOCAL "Search_path" TO B'


def test_a_kind_is_told_for_each_token() -> None:
    found = [token.kind for token in tokens("a'b'\"c\"$$d$$1+--e\n/*f*/")]
    assert found == [
        *(Kind.WORD, Kind.STRING, Kind.QUOTED_NAME, Kind.DOLLAR_STRING, Kind.NUMBER, Kind.SYMBOL),
        *(Kind.LINE_COMMENT, Kind.BLANK, Kind.BLOCK_COMMENT),
    ]


def test_lines_and_columns_begin_at_one_and_count_characters() -> None:
    assert line_column("é;x", 2) == (1, 3)
    assert line_column("a\nbc", 2) == (2, 1)
    assert line_column("a\nbc", 3) == (2, 2)
