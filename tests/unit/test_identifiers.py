"""Names: what is let through, PostgreSQL stores as written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy import identifiers
from tenancy.errors import InvalidDomainError, InvalidIdentifierError, InvalidSlugError


@pytest.mark.parametrize(
    "name",
    ["", "1a", "A", "a b", 'a"b', "a;b", "a-b", "acme\n", "pg_temp", "pg_catalog", '"$user"', "é",
     "a" * 64, "a\0b", "a.b"],
)  # fmt: skip
def test_a_name_that_the_server_would_change_is_refused(name: str) -> None:
    with pytest.raises(InvalidIdentifierError):
        identifiers.quoted(name)


def test_a_name_of_63_bytes_is_the_longest() -> None:
    assert identifiers.identifier("a" * 63) == "a" * 63


@given(st.text(max_size=80))
def test_what_is_quoted_holds_no_quote(name: str) -> None:
    try:
        text = identifiers.quoted(name)
    except InvalidIdentifierError:
        return
    assert text == f'"{name}"'
    assert name.isascii()
    assert '"' not in name


@given(st.text(max_size=40))
def test_a_literal_ends_where_it_says(text: str) -> None:
    try:
        literal = identifiers.literal(text)
    except InvalidIdentifierError:
        assert "\0" in text or "\\" in text
        return
    assert literal[0] == literal[-1] == "'"
    assert literal[1:-1].replace("''", "") == text.replace("'", "")


@pytest.mark.parametrize(
    "slug",
    ["", "-a", "a-", "A", "1a", "a_b", "a.b", "a b", "é", "a" * 49, "acme\n", "www", "pg-x",
     "xn--a", "tenancy"],
)  # fmt: skip
def test_a_slug_that_is_none_is_refused(slug: str) -> None:
    with pytest.raises(InvalidSlugError):
        identifiers.slug(slug)


@pytest.mark.parametrize("slug", ["a", "acme", "a-b", "a--b", "a1", "a" * 48])
def test_a_slug_makes_a_schema_of_its_own_each_time(slug: str) -> None:
    name = identifiers.schema_name(identifiers.slug(slug))
    assert identifiers.identifier(name) == name
    assert name != identifiers.schema_name(slug)


@pytest.mark.parametrize(
    "name",
    ["", "localhost", "127.0.0.1", "a..b", "-a.example.org", "a.example.org:80", "bücher.example",
     "a_b.example", "a" * 64 + ".example", "*.example.org", "a.b.1"],
)  # fmt: skip
def test_a_domain_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidDomainError):
        identifiers.domain(name)


def test_a_domain_is_kept_in_lower_case_without_the_final_dot() -> None:
    assert identifiers.domain("Notes.Acme.Example.") == "notes.acme.example"
