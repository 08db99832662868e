"""What level strict admits, by the text alone."""

import random
import re
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import texts

from tenancy.errors import StatementRefusedError
from tenancy.pool import statements


def _admitted(sql: str) -> bool:
    try:
        statements.admit(sql)
    except StatementRefusedError:
        return False
    return True


@pytest.mark.parametrize("sql", texts.HONEST)
def test_a_query_or_a_change_of_rows_is_admitted(sql: str) -> None:
    assert _admitted(sql)


@pytest.mark.parametrize("sql", texts.FORBIDDEN)
def test_any_other_statement_is_refused_and_its_kind_told(sql: str) -> None:
    with pytest.raises(
        StatementRefusedError, match=f"this is {sql.split(maxsplit=1)[0]}:"
    ) as caught:
        statements.admit(sql)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("sql", ["selecta", "select$1", "selecté", "with_x", "ſelect 1", "secret"])
def test_a_word_that_only_begins_like_one_is_refused_and_not_told(sql: str) -> None:
    with pytest.raises(StatementRefusedError, match="none of these") as caught:
        statements.admit(sql)
    assert sql not in str(caught.value)


@pytest.mark.parametrize(
    "sql", ["", ";", " ; SELECT 1", "/* SELECT 1", "--SELECT 1", "/*/SELECT 1"]
)
def test_a_text_without_a_first_token_is_refused(sql: str) -> None:
    assert not _admitted(sql)


def test_comment_blank_and_case_hide_nothing_and_forbid_nothing(long: bool) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(200_000 if long else 2_000):
        bad, good = texts.forbidden(rng), texts.honest(rng)
        assert not _admitted(bad), (seed, bad)
        assert _admitted(good), (seed, good)


def _first_token(sql: str) -> str:
    """PostgreSQL's lexer once more, a character at a time (scan.l: space, comment, xc)."""
    at = depth = 0
    while at < len(sql):
        two = sql[at : at + 2]
        if two == "/*" or (depth and two == "*/"):
            depth, at = depth + (1 if two == "/*" else -1), at + 2
        elif depth or sql[at] in " \t\n\r\f\v":
            at += 1
        elif two == "--":
            at += len(re.split(r"[\n\r]", sql[at:], maxsplit=1)[0])
        else:
            return "(" if sql[at] == "(" else "".join(takewhile(_in_a_word, sql[at:]))
    return ""


def _in_a_word(letter: str) -> bool:
    return letter.isalnum() or letter in "_$" or not letter.isascii()


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet=" \n\r\t\v/*-;(selectSELECTdo$1\xa0\u2028é", max_size=30))
def test_the_first_token_is_the_one_that_a_plain_lexer_finds(sql: str) -> None:
    token = _first_token(sql)
    letters = token.upper() if token.isascii() else token
    assert _admitted(sql) == (letters == "(" or letters in statements.ADMITTED)


def test_what_asyncpg_sends_for_a_savepoint_is_admitted_to_the_letter() -> None:
    name = statements.UNIQUE_NAME.format("savepoint", "0123456789abcdef")
    for sql in (f"SAVEPOINT {name};", f"RELEASE SAVEPOINT {name};", f"ROLLBACK TO {name};"):
        assert _admitted(sql)
        for more in (
            f"{sql} COMMIT",
            f" {sql}",
            sql.lower(),
            sql.replace(name, "mine"),
            f"{sql}\n",
        ):
            assert not _admitted(more)


@pytest.mark.parametrize("sql", ["", " ;; ", "-- x", "/* /* */ */ ;", "/*", ";\r--"])
def test_a_text_of_blanks_and_comments_is_empty(sql: str) -> None:
    assert statements.is_empty(sql)


@pytest.mark.parametrize("sql", ["SELECT", ";SELECT 1", "/* */ x", "-- x\ny", "*/"])
def test_a_text_with_anything_else_is_not(sql: str) -> None:
    assert not statements.is_empty(sql)


def test_a_long_text_of_comments_takes_no_long_time() -> None:
    for text in ("/*" * 50_000, "/**/" * 50_000, "-" * 100_000, "--\n" * 50_000, " " * 100_000):
        assert not _admitted(text)
        assert statements.is_empty(text)
