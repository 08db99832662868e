"""The pure parts of a snapshot: names out of a dump, addresses, files without CONCURRENTLY."""

from dataclasses import replace
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.errors import DatabaseSetupError, MigrationFileError
from tenancy.migrate.files.splitter import split, tokens
from tenancy.migrate.shape import seeds, snapshot
from tenancy.migrate.shape.dump import PLACEHOLDER, nameless, statements
from tenancy.migrate.shape.libpq import connection
from tenancy.migrate.shape.seeds import Seeds, Sequence, Table
from tenancy.migrate.shape.snapshot import Snapshot

S = "tenancy_scratch_ab12"


@pytest.mark.parametrize(
    ("dumped", "expected"),
    [
        (f"CREATE TABLE {S}.notes (m {S}.mood DEFAULT 'a'::{S}.mood)", None),
        (f"ALTER TABLE a ALTER b SET DEFAULT nextval('{S}.\"B c\"'::regclass)", None),
        (f"CREATE OPERATOR {S}.+ (FUNCTION = {S}.add)", "CREATE OPERATOR + (FUNCTION = add)"),
        (
            f"CREATE FUNCTION {S}.f() SET search_path TO '{S}', 'shared', 'pg_temp' AS $$x$$",
            "CREATE FUNCTION f() SET search_path FROM CURRENT AS $$x$$",
        ),
        (f"SET search_path TO '{S}', 'other'", f"SET search_path TO '{PLACEHOLDER}', 'other'"),
        (f"AS $$ SELECT '{S}' $$", f"AS $$ SELECT '{PLACEHOLDER}' $$"),
        (f"COMMENT ON TABLE {S}.a IS 'in {S}.a'", f"COMMENT ON TABLE a IS 'in {PLACEHOLDER}.a'"),
    ],
)
def test_the_name_is_taken_out_of_code_and_kept_as_a_place_in_texts(
    dumped: str, expected: str | None
) -> None:
    assert nameless(dumped, S, "shared") == (expected or dumped.replace(f"{S}.", ""))


def test_a_name_that_may_mean_something_else_is_only_taken_from_before_a_point() -> None:
    text = "CREATE TABLE public.a (b text DEFAULT 'public', c int DEFAULT public.f('public.x'))"
    assert nameless(text, "public", "shared", certain=False) == text.replace(
        "public.a", "a"
    ).replace("public.f", "f")


def test_what_a_dump_says_beside_the_objects_is_left_out() -> None:
    dump = (
        "\\restrict aKey\nSET statement_timeout = 0;\nSET default_tablespace = '';\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\n"
        f"CREATE SCHEMA {S};\n-- Name: x\nCOMMENT ON SCHEMA {S} IS 'stamp';\n"
        f"ALTER TABLE {S}.a ENABLE ROW LEVEL SECURITY;\nCREATE TABLE {S}.a ();\n\\unrestrict aKey\n"
    )
    assert statements(dump, S, "shared") == [
        "CREATE TABLE a ()",
        "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
    ]
    moved = dump.replace("tablespace = ''", "tablespace = fast")
    assert "SET LOCAL default_tablespace = fast" in statements(moved, S, "shared")
    with pytest.raises(DatabaseSetupError, match=PLACEHOLDER):
        statements(f"CREATE TABLE {PLACEHOLDER} ();", S, "shared")


@given(st.text(), st.text(), st.text())
def test_a_password_is_in_the_environment_alone(user: str, password: str, value: str) -> None:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}" if user else ""
    at = "@" if login else ""
    options = f"sslmode=require&work_mem={quote(value, safe='')}"
    address, secret = connection(f"postgresql://{login}{at}db:5433/notes?{options}")
    parts = urlsplit(address)
    assert (parts.hostname, parts.port, parts.path, parts.query) == (
        *("db", 5433, "/notes"),
        "sslmode=require",
    )
    assert parts.password is None
    assert unquote(parts.username or "") == user
    assert secret.get("PGPASSWORD", "") == (password if user else "")


def test_a_password_that_only_a_command_line_can_carry_is_refused() -> None:
    with pytest.raises(DatabaseSetupError, match="use a key without a password") as refused:
        connection("postgresql://db/notes?sslkey=/key&sslpassword=secret")
    assert "secret" not in str(refused.value)


def test_settings_behind_an_address_go_where_libpq_takes_them() -> None:
    address, secret = connection("postgresql:///notes?host=/run/pg&password=x&statement_timeout=5")
    assert (address, secret["PGPASSWORD"]) == ("postgresql:///notes?host=%2Frun%2Fpg", "x")
    assert secret["PGOPTIONS"] == "-c statement_timeout=5"


def _table(*rows: tuple[str | None, ...], today: str | None = None) -> Table:
    columns = ("id", "at")
    return Table("notes", columns, (False, True), (None, today), always=True, rows=rows)


def test_a_value_that_differs_is_left_to_its_default_and_named_without_one() -> None:
    once = Seeds((_table(("1", "'a'"), ("2", "'b'")),), (Sequence("s", 2, called=True),))
    again = Seeds((_table(("1", "'a'"), ("2", "'c'")),), (Sequence("s", 2, called=True),))
    settled, faults = seeds.settled(once, again)
    assert (settled.tables[0].rows, faults) == ((("1", "'a'"), ("2", None)), [])
    assert list(seeds.statements(settled)) == [
        "INSERT INTO notes (id, at) OVERRIDING SYSTEM VALUE VALUES\n(1, 'a')",
        "INSERT INTO notes (id) OVERRIDING SYSTEM VALUE VALUES\n(2)",
        "SELECT pg_catalog.setval('s'::regclass, 2, true)",
    ]
    assert seeds.same(settled, again) == []
    other = Seeds((_table(("1", "'a'"), ("3", "'c'")),), (Sequence("s", 3, called=True),))
    assert seeds.settled(once, other)[1] == ["notes.id", "s"]
    assert seeds.same(settled, other) == ["notes", "s"]
    assert seeds.settled(once, Seeds((), ()))[1] == ["notes", "s"]


def test_a_constant_that_is_todays_is_left_to_the_default_that_made_it() -> None:
    rows = Seeds((_table(("1", "'2026-01-02'"), today="'2026-01-02'"),), ())
    assert seeds.settled(rows, rows)[0].tables[0].rows == (("1", None),)


_SNAPSHOT = Snapshot(
    "0007", "ab", "shared cd", 18, "18:ef", "CREATE TABLE a ();\n\nSELECT '\r\n';\n"
)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_snapshot_is_read_as_it_was_written(body: str) -> None:
    one = replace(_SNAPSHOT, body=body)
    assert snapshot.parse(one.text) == one


@given(st.integers(0, len(_SNAPSHOT.text) - 1), st.characters(min_codepoint=32, max_codepoint=126))
def test_a_character_that_was_changed_in_the_body_is_noticed(at: int, letter: str) -> None:
    text = _SNAPSHOT.text
    header = len(text) - len(_SNAPSHOT.body)
    if at < header or text[at] == letter:
        return
    with pytest.raises(MigrationFileError, match="edited"):
        snapshot.parse(text[:at] + letter + text[at + 1 :])


def test_its_statements_are_those_of_its_text() -> None:
    assert len(split(tokens(_SNAPSHOT.text))) == 2
