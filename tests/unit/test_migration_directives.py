"""Directives: in whose spelling they come, and what they ask for."""

from pathlib import Path

import pytest

from tenancy.errors import MigrationFileError
from tenancy.migrate.files import folder as folders
from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Migration, Stage


def _read(tmp_path: Path, text: str, name: str = "0001_a.sql") -> Migration:
    (tmp_path / name).write_text(text)
    (migration,) = folders.load(tmp_path, Stage.TENANT)
    migration.check()
    return migration


def _texts(migration: Migration) -> tuple[list[str], list[str] | None]:
    """Return the statements of both ways, and that each stands where the file has it."""
    whole = migration.written.source.text
    parts = [migration.source, migration.down.source if migration.down else None]
    found = []
    for part in parts:
        statements = part.statements if part else ()
        assert all(whole[one.start :].startswith(one.text) for one in statements)
        found.append([one.text for one in statements])
    return found[0], found[1] if migration.down else None


# Nobody's


@pytest.mark.parametrize(
    "slip",
    [
        *("-- migrate down", "--migrate down", "-- @migrate:down", "/* migrate:down */"),
        *("-- + goose Down", "-- goose Down", "-- +gooseDown", "-- rambler down", "-- !Downs"),
        *("-- down", "-- Down Migration", "--//@UNDO", "-- migrate up lock_timeout:1s"),
        *("--- create above / drop below ---", "---- create above / drop below"),
    ],
)
def test_a_marker_that_nobody_reads_is_refused(tmp_path: Path, slip: str) -> None:
    text = f"CREATE TABLE notes (id int);\n\n  {slip}\nDROP TABLE notes;\n"

    with pytest.raises(MigrationFileError, match=r":3:3: .* is read by nobody"):
        _read(tmp_path, text)
    with pytest.raises(MigrationFileError, match="is read by nobody"):
        _read(tmp_path, f"-- migrate:up\n{text}")


@pytest.mark.parametrize(
    "remark",
    [
        *("-- migrate up to the new form", "-- down here is the rest", "-- rolls up", "-- upper"),
        *("-- migrate everybody", "/* goes\ndown\n*/", "SELECT '\n-- down\n';", "-- -----"),
        *("-- undo what 0007 did", "-- migrate: the old rows go down"),
        *("-- Up", "-- down"),  # headings
    ],
)
def test_a_remark_is_none(tmp_path: Path, remark: str) -> None:
    up, down = _texts(_read(tmp_path, f"{remark}\nSELECT 1"))

    assert (up[-1], down) == ("SELECT 1", None)


# Ours


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {}),
        (" lock_timeout:500ms", {"lock_timeout": 500}),
        (
            " statement_timeout:2h lock_timeout:3s",
            {"lock_timeout": 3_000, "statement_timeout": 7_200_000},
        ),
        (
            "   lock_timeout:1min\tstatement_timeout:1d  ",
            {"lock_timeout": 60_000, "statement_timeout": 86_400_000},
        ),
        (" transaction:false", {"transactional": False}),
        (" transaction:true", {"transactional": True}),
        (" retries:8 idempotent:true", {"retries": 8, "idempotent": True}),
        (" order:any idempotent:false", {"order_any": True, "idempotent": False}),
    ],
)
def test_a_directive_says_how_a_file_is_run(
    tmp_path: Path, options: str, expected: dict[str, object]
) -> None:
    for spelling in ("-- migrate:up", "--migrate:up", "-- Migrate:UP", "  --   migrate:up"):
        found = _read(tmp_path, f"-- about\n{spelling}{options}\nSELECT 1").directives
        assert found == Directives(**expected)  # type: ignore[arg-type]


def test_each_way_has_options_of_its_own(tmp_path: Path) -> None:
    migration = _read(
        tmp_path,
        "-- migrate:up lock_timeout:1s\nSELECT 1;\n"
        "-- migrate:down transaction:false retries:2\nSELECT 2;",
    )
    assert migration.down is not None
    assert migration.directives == Directives(lock_timeout=1000)
    assert migration.down.directives == Directives(transactional=False, retries=2)
    assert _texts(migration) == (["SELECT 1"], ["SELECT 2"])


@pytest.mark.parametrize(
    ("text", "up", "down"),
    [
        ("SELECT 1", ["SELECT 1"], None),
        ("-- migrate:up\nSELECT 1", ["SELECT 1"], None),
        ("SELECT 1\n-- migrate:down\nSELECT 2", ["SELECT 1"], ["SELECT 2"]),
        ("-- migrate:up\n\n-- migrate:down\n", [], []),
        ("-- migrate:down", [], []),
        ("/* a */\n-- b\n-- migrate:up\nSELECT 1 -- c\n-- migrate:down", ["SELECT 1"], []),
        ("-- migrate: the old rows go\nSELECT 1", ["SELECT 1"], None),
        ("SELECT '\n-- migrate:down\n-- +goose Up\n'", None, None),
        ("DO $$\n-- migrate:down\n-- +goose Up\n$$", None, None),
        ("/*\n-- migrate:down\n*/SELECT 1", ["SELECT 1"], None),
    ],
)
def test_a_file_goes_up_to_its_way_down(
    tmp_path: Path, text: str, up: list[str] | None, down: list[str] | None
) -> None:
    assert _texts(_read(tmp_path, text)) == ([text] if up is None else up, down)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-- migrate:up lock:2s", r"0001_a\.sql:1:15: .*transaction, lock_timeout, statement_"),
        ("-- migrate:up lock_timeout", "is not known"),
        ("-- migrate:up lock_timeout=2s", "is not known"),
        ("-- migrate:up make the notes", "'make' is not known"),
        ("-- migrate:up lock_timeout:2s lock_timeout:3s", "given twice"),
        ("-- migrate:up lock_timeout:2", "no duration"),
        ("-- migrate:up lock_timeout:0s", "no duration"),
        ("-- migrate:up statement_timeout:25d", "at most 24d"),
        ("-- migrate:up transaction:no", "transaction:true or transaction:false"),
        ("-- migrate:up Transaction:false", "is not known"),
        ("-- migrate:up retries:0", "1 to 100"),
        ("-- migrate:up retries:many", "1 to 100"),
        ("-- migrate:up idempotent:yes", "idempotent:true or"),
        ("-- migrate:up order:1", "order:any, or"),
        ("-- migrate:up\n-- migrate:up", "2:1: up stands here a second time"),
        ("-- migrate:down\n-- migrate:down", "2:1: down stands here a second time"),
        ("-- migrate:down\n-- migrate:up", "2:1: up goes above down"),
        ("-- migrate:down order:any", "for migrate:up alone"),
        ("SELECT 1; -- migrate:up", "1:11: a directive stands on a line of its own"),
        ("\nSELECT 1;\n-- migrate:up\nSELECT 2", "2:1: this stands above the marker"),
        ("-- migrate:upp", "no directive"),
        ("-- migrate: up", "no directive"),
        ("-- migrate:", None),
    ],
)
def test_a_directive_that_is_not_understood_is_refused_at_its_place(
    tmp_path: Path, text: str, words: str | None
) -> None:
    if words is None:
        assert _read(tmp_path, text).directives == Directives()
        return
    with pytest.raises(MigrationFileError, match=words):
        _read(tmp_path, text)


# Theirs

PLAIN, UNTRANSACTED = Directives(), Directives(transactional=False)


@pytest.mark.parametrize(
    ("text", "up", "down", "asked"),
    [
        ("-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;", 1, 1, PLAIN),
        ("-- +goose up\nSELECT 1", 1, None, PLAIN),
        ("--+goose Up\n\n--  +goose   Down  \n", 0, 0, PLAIN),
        ("-- about\n-- +goose NO TRANSACTION\n-- +goose Up\nSELECT 1;", 1, None, UNTRANSACTED),
        ("-- +goose Up\n-- +goose NO TRANSACTION\nSELECT 1;", 1, None, UNTRANSACTED),
        ("-- +goose ENVSUB OFF\n-- +goose Up\nSELECT 1;", 1, None, PLAIN),
        (
            "-- +goose Up\n-- +goose StatementBegin\nDO $$ BEGIN PERFORM 1; END $$;\n"
            "-- +goose StatementEnd\nSELECT 2;\n-- +goose StatementBegin\nSELECT 3; SELECT 4;\n"
            "-- +goose StatementEnd\n-- +goose Down\n-- +goose StatementBegin\nSELECT 5\n"
            "-- +goose StatementEnd",
            4,
            1,
            PLAIN,
        ),
        ("-- +migrate Up\nSELECT 1;\n-- +migrate Down\nSELECT 2;", 1, 1, PLAIN),
        ("-- +migrate Up notransaction\nSELECT 1;", 1, None, UNTRANSACTED),
        (
            "-- +migrate Up\n-- +migrate StatementBegin\nSELECT 1;\n-- +migrate StatementEnd",
            1,
            None,
            PLAIN,
        ),
        ("SELECT 1;\n\n---- create above / drop below ----\n\nSELECT 2;", 1, 1, PLAIN),
        ("---- tern: disable-tx ----\nSELECT 1;", 1, None, UNTRANSACTED),
        (
            "---- tern: disable-tx ----\nSELECT 1;\n---- create above / drop below ----\nSELECT 2;",
            1,
            1,
            UNTRANSACTED,
        ),
        ("-- no-transaction\nSELECT 1", 1, None, UNTRANSACTED),
        ("-- a\n-- no-transaction\nSELECT 1", 1, None, PLAIN),
        ("-- morph:nontransactional\nSELECT 1", 1, None, UNTRANSACTED),
        ("-- atlas:txmode none\n\nSELECT 1", 1, None, UNTRANSACTED),
    ],
)
def test_the_spellings_of_other_tools_are_read(
    tmp_path: Path, text: str, up: int, down: int | None, asked: Directives
) -> None:
    migration = _read(tmp_path, text)
    ups, downs = _texts(migration)
    assert (len(ups), None if downs is None else len(downs)) == (up, down)
    assert migration.directives == asked


def test_terns_word_against_transactions_is_for_the_part_it_stands_in(tmp_path: Path) -> None:
    between = "---- create above / drop below ----"
    first = _read(tmp_path, f"---- tern: disable-tx ----\nSELECT 1;\n{between}\nSELECT 2")
    second = _read(tmp_path, f"SELECT 1;\n{between}\n---- tern: disable-tx ----\nSELECT 2")
    for migration, ways in ((first, (False, True)), (second, (True, False))):
        assert migration.down is not None
        found = (migration.directives.transactional, migration.down.directives.transactional)
        assert found == ways


def test_gooses_word_against_transactions_is_for_both_ways(tmp_path: Path) -> None:
    text = "-- +goose Up\nSELECT 1;\n-- +goose Down\n-- +goose NO TRANSACTION\nSELECT 2;"
    migration = _read(tmp_path, text)
    assert migration.down is not None
    assert not migration.directives.transactional
    assert not migration.down.directives.transactional


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-- +goose Upp\n", "no directive of goose"),
        ("-- +goose\n", "no directive of goose"),
        ("-- +goose Up again", "no directive of goose"),
        ("-- +goose Down\nSELECT 1", "needs its marker for up"),
        ("-- +goose NO TRANSACTION\nSELECT 1", "needs its marker for up"),
        ("SELECT 1;\n-- +goose Up\n", "1:1: this stands above"),
        ("-- +goose Up\n-- +goose ENVSUB ON\nSELECT 1", "2:1: the environment's variables"),
        ("-- +goose Up\n-- +goose StatementBegin\nSELECT 1", "StatementBegin without"),
        ("-- +goose Up\n-- +goose StatementEnd", "no directive of goose: .* each in its place"),
        ("-- +goose StatementBegin\n-- +goose Up", "each in its place"),
        ("-- +goose Up\n-- +goose StatementBegin\n-- +goose Down", "each in its place"),
        ("-- +goose Up\n-- +goose Down\n-- +goose Up", "up stands here a second time"),
        ("-- +migrate Up transaction", "no directive of sql-migrate"),
        ("-- +migrate Down", "needs its marker for up"),
        ("-- +goose Up\n-- migrate:down", "2:1: a marker of migrate in a file with one of goose"),
        ("-- migrate:up\n---- tern: disable-tx ----", "keep to one spelling"),
        ("-- no-transaction\n-- migrate:up", "keep to one spelling"),
        (
            "SELECT {{.a}};\n---- create above / drop below ----\n",
            "1:8: tern's templates are not filled in",
        ),
        (
            "---- tern: disable-tx ----\nSELECT '{{ template \"a.sql\" . }}'",
            "2:9: tern's templates are not filled in",
        ),
        (
            "---- create above / drop below ----\n---- create above / drop below ----\n",
            "2:1: the line between",
        ),
        ("SELECT 1;\n-- morph:nontransactional", "2:1: this directive goes above the SQL"),
        ("-- morph:nontransaction", "only 'nontransactional' is followed"),
        ("-- atlas:delimiter \\n\\n", "only 'txmode none' is followed"),
    ],
)
def test_what_another_tool_would_do_otherwise_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(MigrationFileError, match=words):
        _read(tmp_path, text)


# Python


UP = "async def up(context):\n    pass\n"


@pytest.mark.parametrize(
    ("text", "asked", "down"),
    [
        (UP, PLAIN, None),
        (f"# migrate:up transaction:false\n{UP}", UNTRANSACTED, None),
        (f"{UP}\nasync def down(context):\n    pass\n", PLAIN, PLAIN),
        (
            f"# migrate:up\n{UP}\n# migrate:down transaction:false\n"
            "async def down(context):\n    pass\n",
            PLAIN,
            UNTRANSACTED,
        ),
        ("async def up(context, batch=100, *more, key=None): ...", PLAIN, None),
        (f'"""# migrate:sideways\n"""\n{UP}', PLAIN, None),
    ],
)
def test_python_says_the_same_in_its_comments(
    tmp_path: Path, text: str, asked: Directives, down: Directives | None
) -> None:
    migration = _read(tmp_path, text, "0001_a.py")
    assert migration.directives == asked
    assert (migration.down and migration.down.directives) == down
    assert migration.path == tmp_path / "0001_a.py"
    assert not [*migration.source.statements, *migration.source.tokens]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1:1: .*needs `async def up"),
        ("x = 1", "needs `async def up"),
        ("async def down(context): ...", "needs `async def up"),
        ("\ndef up(context): ...", "2:1: write `async def up"),
        ("async def up(): ...", "1:1: write `async def up"),
        ("async def up(a, b): ...", "write `async def up"),
        ("async def up(a, *, b): ...", "write `async def up"),
        (f"{UP}\ndef down(context): ...", r"4:1: write `async def down\(context\)"),
        ("é = 1\nasync def up(:", "2:14: this is no Python"),
        (f"# migrate:up transaction:maybe\n{UP}", r"0001_a\.py:1:14: 'transaction:maybe'"),
        (f"# migrate:sideways\n{UP}", "1:1: migrate:sideways is no directive"),
        (f"# migrate:up\n# migrate:up\n{UP}", "2:1: migrate:up stands here a second time"),
        (f"# migrate:down\n{UP}", "migrate:down is said of a file without"),
    ],
)
def test_python_that_is_no_migration_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(MigrationFileError, match=words):
        _read(tmp_path, text, "0001_a.py")


def test_python_is_not_imported_by_reading_it(tmp_path: Path) -> None:
    _read(tmp_path, f"raise SystemExit\n{UP}", "0001_a.py")
