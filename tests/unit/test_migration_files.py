"""Migration files: what is read, and what is refused before anything runs."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tenancy.errors import MigrationFileError, SettingsError, UnknownVersionError
from tenancy.migrate.files import folder as folders
from tenancy.migrate.files import model
from tenancy.migrate.files.model import Files, Migration, Stage, target
from tenancy.migrate.files.versions import spelled
from tenancy.migrate.ledger.records import Baseline, History
from tenancy.migrate.plan import chain
from tenancy.migrate.plan.chain import Verdict
from tenancy.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _load(folder: Path, **texts: str) -> tuple[Migration, ...]:
    for name, text in texts.items():
        (folder / f"{name.removeprefix('v')}.sql").write_text(text)
    return _checked(folder)


def _checked(folder: Path, stage: Stage = Stage.TENANT) -> tuple[Migration, ...]:
    loaded = folders.load(folder, stage)
    for migration in loaded:
        migration.check()
    return loaded


def _one(folder: Path, text: str | bytes, stage: Stage = Stage.TENANT) -> Migration:
    content = text.encode() if isinstance(text, str) else text
    (folder / "0001_a.sql").write_bytes(content)
    (migration,) = _checked(folder, stage)
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
        ("0001_.sql", "rename it"),
        ("0001_.up.sql", "rename it"),
        ("0001a.sql", "rename it"),
        ("0001_a.SQL", "rename it"),
        ("V0001.a.up.sql", "rename it"),
        ("R__a.sql", "rename it"),
        ("0001_a\t.sql", "rename it"),
        ("٠٠٠١_a.sql", "rename it"),
        ("schema.sql", "rename it"),
        ("add_notes.py", "rename it"),
        ("0001_a.up.py", "rename it"),
        ("0001_a.sql\n", "neither"),
        ("0001_a.sql~", "neither"),
        ("0001_a.sql.bak", "neither"),
        ("0001_a.up.sql.orig", "neither"),
        ("0001_a.sql.gz", "neither"),
        ("0001_a.sql.tmpl", "neither"),
        ("20200101120000_a.ts", "neither"),
        ("20200101120000_a.rb", "neither"),
        ("0001_a.yaml", "neither"),
        ("0001_a", "neither"),
        ("00002_a.go", "in Go"),
        ("1516643303_a.up.go", "in Go"),
        ("0001_a.down.sql", "nothing is there that goes up: add the file 0001_a.up.sql"),
    ],
)
def test_what_could_be_a_migration_and_is_none_is_refused(
    folder: Path, name: str, words: str
) -> None:
    (folder / name).write_text("SELECT 1")
    with pytest.raises(MigrationFileError, match=words) as refused:
        folders.load(folder, Stage.TENANT)
    assert f"tenant/{name}" in str(refused.value)


@pytest.mark.parametrize(
    ("file", "version", "name"),
    [
        ("0001_a.sql", "0001", "a"),
        ("20250102030405_create_users.sql", "20250102030405", "create_users"),  # dbmate, goose
        ("20150101000000-initial.sql", "20150101000000", "initial"),  # dbmate
        ("000056_upgrade_channels_v6.0.up.sql", "000056", "upgrade_channels_v6.0"),
        ("1510262030_initial schema.up.sql", "1510262030", "initial schema"),
        ("0001-job-resume.sql", "0001", "job-resume"),
        ("001_create__people_.sql", "001", "create__people_"),
        ("0001_été.sql", "0001", "été"),
        ("0001_a.postgres.up.sql", "0001", "a.postgres"),
        ("1_UPPER.sql", "1", "UPPER"),
        ("000188_ port_share.up.sql", "000188", " port_share"),
    ],
)
def test_the_names_of_other_tools_are_read(
    folder: Path, file: str, version: str, name: str
) -> None:
    (folder / file).write_text("SELECT 1")
    (loaded,) = _checked(folder)
    assert (loaded.version, loaded.name, loaded.label) == (version, name, f"tenant/{file}")


@pytest.mark.parametrize(
    "name",
    [
        *("embed.go", "doc.go", "migrations.go", "migrate_test.go", "0003_notes_test.go"),
        *("tern.conf", "atlas.sum", "Makefile", "create_migration.sh", "sqlc.yaml", "mod.rs"),
        *("__init__.py", "_shared.py", "conftest.py", "test_files.py", "CHANGELOG.md"),
        *("2020-01-01 notes.md", "0001_a.md", "notes.txt", "LICENSE", ".gitkeep", "flake.lock"),
    ],
)
def test_what_cannot_be_a_migration_is_passed_over(folder: Path, name: str) -> None:
    (folder / name).write_text("package migrations")
    _load(folder, v0001_a="SELECT 1")


def test_folders_of_tests_and_of_no_migrations_are_passed_over(folder: Path) -> None:
    for name in ("testdata/fixtures", "fixtures", "__pycache__", "queries/users"):
        (folder / name).mkdir(parents=True)
    (folder / "testdata/fixtures/000004_a.up.sql").write_text("SELECT 1")
    (folder / "fixtures/0001_a.sql").write_text("SELECT 1")
    (folder / "queries/users/all.sql").write_text("SELECT 1")
    assert len(_load(folder, v0001_a="SELECT 1")) == 1


@pytest.mark.parametrize("name", ["postgres", "v2/inner"])
def test_a_folder_with_migrations_of_its_own_is_refused(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "0002_b.up.sql").write_text("SELECT 2")
    with pytest.raises(MigrationFileError, match=r"0002_b\.up\.sql in it would not be run"):
        _load(folder, v0001_a="SELECT 1")


@pytest.mark.parametrize("name", ["0001_a", "2020-01-01-120000_a", "1528395733_a"])
def test_a_folder_for_each_migration_is_refused(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "up.sql").write_text("SELECT 1")
    with pytest.raises(MigrationFileError, match=f"tenant/{name} is a folder"):
        folders.load(folder, Stage.TENANT)


def test_a_folder_among_the_files_is_refused(folder: Path) -> None:
    (folder / "0001_a.sql").mkdir()
    with pytest.raises(MigrationFileError, match="is a folder"):
        folders.load(folder, Stage.TENANT)


def test_versions_of_two_widths_are_refused(folder: Path) -> None:
    words = r"tenant/002_b\.sql .* 3 digits.*0001_a\.sql one of 4.*as in 0002_b\.sql"
    with pytest.raises(MigrationFileError, match=words):
        _load(folder, v0001_a="", v002_b="")


def test_a_version_given_twice_is_refused(folder: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"0001_b\.sql has the version of 0001_a\.sql"):
        _load(folder, v0001_a="", v0001_b="")


def test_variants_for_two_databases_are_one_version_twice(folder: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"0001_a\.postgres\.up\.sql has the version of"):
        _load(folder, **{"v0001_a.mysql.up": "", "v0001_a.postgres.up": ""})


# Pairs


def test_a_file_that_goes_down_belongs_to_the_one_of_its_version(folder: Path) -> None:
    texts = {"v0001_a.up": "SELECT 1", "v0001_b.down": "SELECT -1", "v0002_c": "SELECT 2"}
    one, two = _load(folder, **texts, **{"v0002_c.down": "SELECT -2"})
    assert one.down is not None
    assert two.down is not None
    assert one.down.source.label == "tenant/0001_b.down.sql"
    assert [part.text for part in one.down.source.statements] == ["SELECT -1"]
    assert [part.text for part in two.down.source.statements] == ["SELECT -2"]


def test_the_checksum_is_of_the_file_that_goes_up(folder: Path) -> None:
    (before,) = _load(folder, **{"v0001_a.up": "SELECT 1", "v0001_a.down": "SELECT -1"})
    (after,) = _load(folder, **{"v0001_a.down": "SELECT -2"})
    assert before.checksum == after.checksum


def test_two_ways_back_are_refused(folder: Path) -> None:
    texts = {"v0001_a": "SELECT 1;\n-- migrate:down\nSELECT 2", "v0001_a.down": "SELECT 3"}
    (migration,) = _load(folder, **texts)
    with pytest.raises(MigrationFileError, match=r"has a way down, and .*down\.sql is another"):
        migration.down  # noqa: B018


def test_a_way_back_that_cannot_be_run_is_no_reason_not_to_go_up(folder: Path) -> None:
    texts = {"v0001_a.up": "SELECT 1", "v0001_a.down": "SELECT 1;\nDROP SCHEMA public CASCADE"}
    pair, one = _load(folder, **texts, v0002_b="SELECT 1;\n-- migrate:down\nDISCARD ALL")
    for migration, words in ((pair, r"0001_a\.down\.sql:2:1: DROP"), (one, "0002_b.sql:3:1: DISC")):
        with pytest.raises(MigrationFileError, match=words):
            migration.down  # noqa: B018 - it reads the file
        assert len(migration.source.statements) == 1


@pytest.mark.parametrize("text", ["-- migrate:up\nSELECT 1", "SELECT 1;\n-- migrate:down\n"])
def test_a_file_that_goes_down_says_nothing_else(folder: Path, text: str) -> None:
    (migration,) = _load(folder, **{"v0001_a.up": "", "v0001_a.down": text})
    with pytest.raises(MigrationFileError, match="this file goes down, by its name"):
        migration.down  # noqa: B018


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


@given(st.integers(0, 9999), st.integers(1, 4), st.integers(0, 9))
def test_leading_zeros_of_a_version_are_no_matter(number: int, width: int, zeros: int) -> None:
    known = [f"{number:0{width}}"]
    assert spelled(f"{'0' * zeros}{number}", known) == known[0]
    assert spelled(f"{number + 1}", known) not in known
    assert spelled(f"{number}", ()) == f"{number}"


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

    base = History({}, Baseline("20250102", "x"))
    foreign = chain.difference(chained, base.digest, base)
    assert foreign.verdict is Verdict.OUT_OF_ORDER
    assert "versions here are written as 1: is TENANCY_SQL_DIR" in foreign.reason

    edited = _difference(chained, {"1": one, "2": two}, digest="another")
    assert edited.verdict is Verdict.DAMAGED
    assert _difference(chained, {}, digest="another").verdict is Verdict.DAMAGED
    assert _difference((), {"1": one}).verdict is Verdict.AHEAD


# Read when needed


def test_a_file_is_read_when_it_is_needed(folder: Path) -> None:
    (folder / "0001_a.sql").write_text("COMMIT")
    (migration,) = folders.load(folder, Stage.TENANT)
    assert (migration.label, len(migration.checksum)) == ("tenant/0001_a.sql", 64)
    for ask in ("source", "directives"):
        with pytest.raises(MigrationFileError, match="COMMIT"):
            getattr(migration, ask)


def test_all_files_are_checked_at_once_when_asked(folder: Path) -> None:
    (folder / "0001_a.sql").write_text("SELECT 1")
    (folder / "0002_b.sql").write_text("COMMIT")
    with pytest.raises(MigrationFileError, match=r"0002_b\.sql:1:1: COMMIT"):
        _files(folders.load(folder, Stage.TENANT)).check()


# Folders


def _settings(sql: Path | None) -> Settings:
    return Settings(database_url=SecretStr("postgresql://nobody@nowhere/none"), sql_dir=sql)


def test_a_missing_sql_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TENANCY_SQL_DIR"):
        folders.load_all(_settings(tmp_path / "none"))


def test_a_directory_with_no_stage_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"neither shared/ nor tenant/.*TENANCY_SQL_DIR"):
        folders.load_all(_settings(tmp_path))


def test_a_directory_of_migrations_is_the_tenants(tmp_path: Path) -> None:
    for name in ("0001_a.up.sql", "0001_a.down.sql", "embed.go"):
        (tmp_path / name).write_text("")
    loaded = folders.load_all(_settings(tmp_path))
    assert [m.label for m in loaded.tenant] == ["tenant/0001_a.up.sql"]
    assert loaded.shared == ()


@pytest.mark.parametrize("stage", ["shared", "tenant"])
@pytest.mark.parametrize("name", ["0001_a.sql", "20200101000000_a.up.sql", "1_a.py"])
def test_migrations_beside_the_stages_are_refused(tmp_path: Path, stage: str, name: str) -> None:
    (tmp_path / stage).mkdir()
    (tmp_path / name).write_text("")
    with pytest.raises(MigrationFileError, match=f"{name} stands beside shared/ and tenant/"):
        folders.load_all(_settings(tmp_path))


def test_what_is_no_migration_may_stand_beside_the_stages(tmp_path: Path) -> None:
    (tmp_path / "tenant").mkdir()
    for name in ("README.md", "schema.sql", "tool.py"):
        (tmp_path / name).write_text("")
    assert folders.load_all(_settings(tmp_path)).tenant == ()


def test_a_stage_may_be_a_link_to_a_history(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "0001_a.sql").write_text("SELECT 1")
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "tenant").symlink_to(tmp_path / "theirs")
    (tmp_path / "theirs" / "0002_b.sql").symlink_to(tmp_path / "theirs" / "0001_a.sql")
    loaded = folders.load_all(_settings(tmp_path / "sql")).tenant
    assert [m.source.statements[0].text for m in loaded] == ["SELECT 1", "SELECT 1"]


def test_an_extension_needs_a_shared_stage_beside_the_history(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "0001_a.sql").write_text("CREATE EXTENSION IF NOT EXISTS hstore; SELECT 1")
    with pytest.raises(MigrationFileError, match=r"as tenant/, this folder or a link to it"):
        folders.load_all(_settings(theirs)).check()
    (tmp_path / "sql" / "shared").mkdir(parents=True)
    (tmp_path / "sql" / "tenant").symlink_to(theirs)
    shared = tmp_path / "sql" / "shared" / "0001_extensions.sql"
    shared.write_text('-- create extension other\nCREATE EXTENSION IF NOT EXISTS "hstore";')
    (loaded,) = folders.load_all(_settings(tmp_path / "sql")).tenant
    assert [one.text for one in loaded.source.statements] == ["SELECT 1"]


def test_a_broken_link_is_told(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").symlink_to(tmp_path / "gone")
    with pytest.raises(
        MigrationFileError, match=r"tenant/0001_a\.sql cannot be read: No such file"
    ):
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
