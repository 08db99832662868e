"""Migration files: what is read, and what is refused before anything runs."""

import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from tenancy.errors import MigrationFileError, SettingsError, UnknownVersionError
from tenancy.migrate.files import folder as folders
from tenancy.migrate.files import model
from tenancy.migrate.files.model import Files, Migration, Stage, target
from tenancy.migrate.ledger.records import History
from tenancy.migrate.plan import chain
from tenancy.migrate.plan.chain import Verdict
from tenancy.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _load(folder: Path, stage: Stage = Stage.TENANT, **texts: str) -> tuple[Migration, ...]:
    for name, text in texts.items():
        (folder / f"{name.removeprefix('v')}.sql").write_text(text)
    return folders.load(folder, stage)


def _one(folder: Path, text: str | bytes, stage: Stage = Stage.TENANT) -> Migration:
    content = text.encode() if isinstance(text, str) else text
    (folder / "0001_a.sql").write_bytes(content)
    (migration,) = folders.load(folder, stage)
    return migration


# Names


def test_files_come_in_the_order_of_their_versions(folder: Path) -> None:
    loaded = _load(folder, v0002_b="SELECT 2", v0001_a="SELECT 1", v0010_c="SELECT 10")
    assert [(m.version, m.name) for m in loaded] == [("0001", "a"), ("0002", "b"), ("0010", "c")]


def test_dotfiles_and_readmes_are_passed_over(folder: Path) -> None:
    for name in (".keep", ".0001_a.sql.swp", "README", "README.md"):
        (folder / name).write_text("")
    assert folders.load(folder, Stage.TENANT) == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.sql", "rename it"),
        ("0001.sql", "rename it"),
        ("0001-a.sql", "rename it"),
        ("0001_a.SQL", "rename it"),
        ("0001_a.sql\n", "rename it"),
        ("0001_a b.sql", "rename it"),
        ("٠٠٠١_a.sql", "rename it"),
        ("notes.txt", "rename it"),
        ("0001_a.sql~", "rename it"),
        ("0001_a.py", "write it in SQL"),
        ("0001_a.up.sql", "golang-migrate"),
        ("0001_a.down.sql", "goes down"),
    ],
)
def test_any_other_name_is_refused(folder: Path, name: str, words: str) -> None:
    (folder / name).write_text("SELECT 1")
    with pytest.raises(MigrationFileError, match=words) as refused:
        folders.load(folder, Stage.TENANT)
    assert f"tenant/{name}" in str(refused.value)


def test_a_folder_among_the_files_is_refused(folder: Path) -> None:
    (folder / "0001_a.sql").mkdir()
    with pytest.raises(MigrationFileError, match="is a folder"):
        folders.load(folder, Stage.TENANT)


def test_versions_of_two_widths_are_refused(folder: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"tenant/002_b\.sql .* 3 digits.*0001_a\.sql"):
        _load(folder, v0001_a="", v002_b="")


def test_a_version_given_twice_is_refused(folder: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"0001_b\.sql has the version of 0001_a\.sql"):
        _load(folder, v0001_a="", v0001_b="")


# Text


def test_the_checksum_knows_no_line_ends_byte_order_mark_or_trailing_blanks(folder: Path) -> None:
    plain = _one(folder, "SELECT 1;\nSELECT 2;\n").checksum
    for same in (
        b"\xef\xbb\xbfSELECT 1;\r\nSELECT 2;\r\n",
        b"SELECT 1;\rSELECT 2;",
        b"SELECT 1;  \nSELECT 2;\t\n\n\n",
    ):
        assert _one(folder, same).checksum == plain
    assert _one(folder, "SELECT 1;\n SELECT 2;\n").checksum != plain


def test_what_runs_is_the_same_whatever_the_line_ends(folder: Path) -> None:
    assert (
        _one(folder, b"SELECT 'a\r\nb'").source.text == _one(folder, b"SELECT 'a\nb'").source.text
    )


@pytest.mark.parametrize("text", ["", "\n", "-- nothing\n", "/* ; */ ;;", "\ufeff"])
def test_a_file_without_a_statement_is_a_migration(folder: Path, text: str) -> None:
    assert _one(folder, text).source.statements == ()


def test_a_file_that_is_not_utf_8_is_refused(folder: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"0001_a\.sql is not UTF-8 at byte 9"):
        _one(folder, b"SELECT '\xe9'")


def test_a_nul_is_refused_at_its_place(folder: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"0001_a\.sql:2:3: a NUL"):
        _one(folder, "SELECT 1;\nab\0")


# The chain


def test_a_digest_names_the_file_with_its_whole_past(folder: Path) -> None:
    before = _load(folder, v0001_a="SELECT 1", v0002_b="SELECT 2", v0003_c="SELECT 3")
    after = _load(folder, v0002_b="SELECT 22")
    assert before[0].digest == after[0].digest
    assert before[1].digest != after[1].digest
    assert before[2].checksum == after[2].checksum
    assert before[2].digest != after[2].digest
    assert [m.previous for m in before] == ["", before[0].digest, before[1].digest]


def _files(tenant: tuple[Migration, ...], shared: tuple[Migration, ...] = ()) -> Files:
    return Files((), shared, tenant)


def test_the_digest_of_all_files_names_each_stage(folder: Path) -> None:
    one = _load(folder, v0001_a="SELECT 1")
    two = _load(folder, v0002_b="SELECT 2")
    every = (_files(one), _files(two), _files((), one), _files(one, one), _files(()))
    assert len({files.digest for files in every}) == len(every)
    assert _files(one).digest == _files(one).digest


def test_files_until_a_version_end_with_it(folder: Path) -> None:
    files = _files(_load(folder, v0001_a="", v0002_b="", v0010_c=""))
    for version in ("0002", "2"):
        assert [m.version for m in files.until(version).tenant] == ["0001", "0002"]
    assert files.until("0010") == files


def test_files_until_an_unknown_version_are_refused_with_the_nearest_ones(folder: Path) -> None:
    files = _files(_load(folder, v0001_a="", v0002_b="", v0010_c="", v0020_d=""))
    with pytest.raises(UnknownVersionError, match=r"'7'; the nearest: 0002, 0010$"):
        files.until("7")
    with pytest.raises(UnknownVersionError, match="there are none"):
        _files(()).until("7")


def test_pending_is_what_comes_after_the_digest(folder: Path) -> None:
    chained = _load(folder, v1_a="", v2_b="", v3_c="")
    for done in range(3):
        found = chain.position(chained, chained[done].previous)
        assert found == chain.Position(Verdict.BEHIND, chained[done:])
    assert chain.position(chained, target(chained)) == chain.Position(Verdict.CURRENT)
    assert chain.position(chained, "another") is None
    assert chain.position((), "") == chain.Position(Verdict.CURRENT)


def _difference(
    chained: tuple[Migration, ...], applied: dict[str, str], digest: str | None = None
) -> chain.Position:
    if digest is None:
        digest = ""
        for version in sorted(applied):
            digest = model.chained(digest, version, applied[version])
    return chain.difference(chained, digest, History(applied))


def test_how_a_history_differs_is_told_exactly(folder: Path) -> None:
    chained = _load(folder, v1_a="SELECT 1", v2_b="SELECT 2", v4_d="SELECT 4")
    one, two, four = (migration.checksum for migration in chained)

    changed = _difference(chained, {"1": one, "2": "other"})
    assert changed.verdict is Verdict.CHANGED
    assert "tenant/2_b.sql: changed" in changed.reason

    late = _difference(chained, {"1": one, "4": four})
    assert late.verdict is Verdict.OUT_OF_ORDER
    assert "tenant/2_b.sql: was not applied, but 4 was" in late.reason

    missing = _difference(chained, {"1": one, "2": two, "3": "x", "4": four})
    assert missing.verdict is Verdict.OUT_OF_ORDER
    assert "3: was applied, but its file is missing" in missing.reason

    ahead = _difference(chained, {"1": one, "2": two, "4": four, "5": "x"})
    assert ahead.verdict is Verdict.AHEAD
    assert not ahead.verdict.refused
    assert "5" in ahead.reason

    edited = _difference(chained, {"1": one, "2": two}, digest="another")
    assert edited.verdict is Verdict.DAMAGED
    assert _difference(chained, {}, digest="another").verdict is Verdict.DAMAGED
    assert _difference((), {"1": one}).verdict is Verdict.AHEAD


# Directives


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", (None, None)),
        (" lock_timeout:500ms", (500, None)),
        (" statement_timeout:2h lock_timeout:3s", (3_000, 7_200_000)),
        ("   lock_timeout:1min\tstatement_timeout:1d  ", (60_000, 86_400_000)),
    ],
)
def test_a_directive_sets_the_timeouts(
    folder: Path, options: str, expected: tuple[int | None, int | None]
) -> None:
    for spelling in ("-- migrate:up", "--migrate:up", "-- Migrate:UP"):
        directives = _one(folder, f"-- about\n{spelling}{options}\nSELECT 1").directives
        assert (directives.lock_timeout, directives.statement_timeout) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-- migrate:up lock:2s", r"0001_a\.sql:1:15: .*lock_timeout, statement_timeout"),
        ("-- migrate:up lock_timeout", "no duration"),
        ("-- migrate:up lock_timeout=2s", "is not known"),
        ("-- migrate:up lock_timeout:2s lock_timeout:3s", "given twice"),
        ("-- migrate:up lock_timeout:2", "no duration"),
        ("-- migrate:up lock_timeout:0s", "no duration"),
        ("-- migrate:up statement_timeout:25d", "at most 24d"),
        ("-- migrate:up transaction:false", "one transaction"),
        ("-- migrate:up\n-- migrate:up", "2:1: migrate:up may stand once"),
        ("SELECT 1; -- migrate:up", "above the SQL"),
        ("SELECT 1;\n-- migrate:down\nSELECT 2", "2:1: .*no migrate:down"),
        ("-- migrate:upp", "no directive"),
        ("-- migrate: up", "no directive"),
        ("-- +goose Up\nSELECT 1", "goose"),
        ("-- +goose StatementBegin", "goose"),
        ("-- +migrate Up", "sql-migrate"),
        ("SELECT 1;\n---- create above / drop below ----\nSELECT 2", "tern"),
    ],
)
def test_a_directive_that_is_not_followed_is_refused(folder: Path, text: str, words: str) -> None:
    with pytest.raises(MigrationFileError, match=words):
        _one(folder, text)


def test_a_directive_in_a_string_is_a_string(folder: Path) -> None:
    assert _one(folder, "SELECT '\n-- migrate:down\n-- +goose Up\n'").source.statements


# Statements

_REFUSED = """
    BEGIN
    begin work
    COMMIT
    COMMIT AND CHAIN
    end
    ROLLBACK
    ROLLBACK TO SAVEPOINT a
    ABORT
    START TRANSACTION
    SAVEPOINT a
    RELEASE a
    PREPARE TRANSACTION 'a'
    COMMIT PREPARED 'a'
    SET TRANSACTION READ ONLY
    SET LOCAL TRANSACTION READ ONLY
    SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
    /* a */ CoMmIt
    SET search_path TO a
    SET LOCAL search_path = a
    SET SESSION "search_path" = a
    SET "SEARCH_PATH" = a
    SET SCHEMA 'a'
    RESET search_path
    RESET ALL
    SET ROLE a
    SET LOCAL ROLE a
    SET role = a
    RESET ROLE
    SET SESSION AUTHORIZATION a
    SET LOCAL SESSION AUTHORIZATION a
    SET session_authorization = a
    RESET SESSION AUTHORIZATION
    SET tenancy.scope = a
    DISCARD ALL
    DISCARD TEMP
    COPY t FROM STDIN
    COPY public.t (a, b) FROM stdin WITH (FORMAT csv)
    COPY t FROM stdin; 1 'odd
    CREATE INDEX CONCURRENTLY i ON t (a)
    CREATE UNIQUE INDEX CONCURRENTLY ON t (a)
    DROP INDEX CONCURRENTLY i
    REINDEX TABLE CONCURRENTLY t
    REINDEX (VERBOSE, CONCURRENTLY) INDEX i
    REINDEX DATABASE a
    REINDEX (VERBOSE) SCHEMA a
    ALTER TABLE t DETACH PARTITION p CONCURRENTLY
    VACUUM
    VACUUM (ANALYZE) t
    CLUSTER
    CREATE DATABASE a
    DROP DATABASE a
    CREATE TABLESPACE a LOCATION 'b'
    ALTER SYSTEM SET a = 1
    ALTER DATABASE a SET TABLESPACE b
    \\i other.sql
    SELECT 1 \\gset
    SELECT 'odd
    SELECT $a$ odd $b$
    /* odd
    CREATE EXTENSION hstore
    create extension if not exists hstore
    DROP EXTENSION hstore
"""


@pytest.mark.parametrize("statement", [line.strip() for line in _REFUSED.strip().splitlines()])
def test_what_no_migration_may_hold_is_refused_at_its_place(folder: Path, statement: str) -> None:
    with pytest.raises(MigrationFileError, match=r"tenant/0001_a\.sql:2:\d+: "):
        _one(folder, f"SELECT 1;\n{statement};\nSELECT 2")


_ALLOWED = """
    SELECT 'COMMIT; VACUUM'
    DO $$ BEGIN PERFORM 1; END $$
    CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = a BEGIN ATOMIC SELECT 1; END
    CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'
    ALTER FUNCTION f() SET search_path = a
    ALTER ROLE a SET search_path = a
    CREATE INDEX i ON t (a)
    CREATE INDEX ON "CONCURRENTLY" (a)
    REFRESH MATERIALIZED VIEW CONCURRENTLY m
    REINDEX TABLE t
    CLUSTER t USING i
    COPY t TO STDOUT
    SET LOCAL work_mem = '1GB'
    SET CONSTRAINTS ALL DEFERRED
    SET TIME ZONE 'UTC'
    PREPARE p AS SELECT 1
    CREATE TABLE "commit" ("end" int)
    ALTER TABLE t DETACH PARTITION p
    ALTER TYPE a ADD VALUE 'b'
    ALTER DATABASE a SET work_mem = '1GB'
    LOCK TABLE t
"""


@pytest.mark.parametrize("statement", [line.strip() for line in _ALLOWED.strip().splitlines()])
def test_what_only_looks_like_it_is_read(folder: Path, statement: str) -> None:
    assert len(_one(folder, f"SELECT 1;\n{statement};\nSELECT 2").source.statements) == 3


def test_an_extension_is_made_in_the_shared_stage(folder: Path) -> None:
    assert _one(folder, "CREATE EXTENSION hstore", Stage.SHARED).source.statements


def test_the_first_fault_is_the_one_told(folder: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"0001_a\.sql:1:1: COPY T FROM: "):
        _one(folder, "COPY t FROM stdin;\n1\tit's\n\\.\nCOMMIT;")


# Folders


def _settings(sql: Path | None) -> Settings:
    return Settings(database_url=SecretStr("postgresql://nobody@nowhere/none"), sql_dir=sql)


def test_a_missing_sql_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TENANCY_SQL_DIR"):
        folders.load_all(_settings(tmp_path / "none"))


def test_a_directory_with_no_stage_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"neither shared/ nor tenant/.*TENANCY_SQL_DIR"):
        folders.load_all(_settings(tmp_path))


def test_a_stage_without_a_folder_has_no_migrations(tmp_path: Path) -> None:
    (tmp_path / "tenant").mkdir()
    loaded = folders.load_all(_settings(tmp_path))
    assert (loaded.shared, loaded.tenant) == ((), ())
    assert [migration.version for migration in loaded.catalog][:2] == ["0001", "0002"]


def test_without_a_setting_sql_in_the_working_directory_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sql" / "tenant").mkdir(parents=True)
    (tmp_path / "sql" / "tenant" / "1_a.sql").write_text("")
    monkeypatch.chdir(tmp_path)
    assert [m.source.label for m in folders.load_all(_settings(None)).tenant] == ["tenant/1_a.sql"]


def test_the_catalog_is_found_in_a_wheel_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tenancy"
    shutil.copytree(folders.catalog_folder(), tmp_path / "sql" / "catalog")
    monkeypatch.setattr(folders, "_PACKAGE", package)
    assert folders.catalog_folder() == tmp_path / "sql" / "catalog"
    (package / "sql").parent.mkdir()
    shutil.move(tmp_path / "sql", package / "sql")
    assert folders.catalog_folder() == package / "sql" / "catalog"
    shutil.rmtree(package / "sql")
    with pytest.raises(MigrationFileError, match="install tenancy again"):
        folders.catalog_folder()
