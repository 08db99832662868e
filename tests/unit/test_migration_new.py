"""`new`: the next file, named and laid out as those before it."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from tenancy.errors import MigrationFileError, SettingsError
from tenancy.migrate.__main__ import migrate_group
from tenancy.migrate.files import folder as folders
from tenancy.migrate.files import new
from tenancy.migrate.files.model import Stage
from tenancy.settings import Settings


def _settings(sql: Path | None) -> Settings:
    return Settings(database_url=SecretStr("postgresql://nobody@nowhere/none"), sql_dir=sql)


def _next(folder: Path, *before: str, text: str = "", **options: bool) -> list[str]:
    """Return the names of the new files in a folder that holds *before*."""
    (folder / "tenant").mkdir(exist_ok=True)
    for name in before:
        (folder / "tenant" / name).write_text(text)
    paths = new.create(_settings(folder), "add notes: pinned!", **options)
    stage = Stage.SHARED if options.get("shared") else Stage.TENANT
    assert {path.parent for path in paths} == {folder / stage}
    made = folders.load(folder / stage, stage)[-1]
    assert made.label == f"{stage}/{paths[0].name}"
    assert made.down is not None
    return [path.name for path in paths]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([], "0001_add_notes_pinned.sql"),
        (["0001_a.sql", "0009_b.sql"], "0010_add_notes_pinned.sql"),
        (["1_a.sql", "3_b.sql"], "4_add_notes_pinned.sql"),
        (["001-a.sql"], "002-add_notes_pinned.sql"),
        (["00000001_a.sql"], "00000002_add_notes_pinned.sql"),
        (["0000000041_a.sql"], "0000000042_add_notes_pinned.sql"),
        (["99991231235959_a.sql"], "99991231235960_add_notes_pinned.sql"),
    ],
)
def test_the_next_version_has_the_width_of_those_before(
    tmp_path: Path, before: list[str], expected: str
) -> None:
    assert _next(tmp_path, *before) == [expected]


@pytest.mark.parametrize(
    ("before", "form"),
    [
        ("20240102030405_a.sql", "%Y%m%d%H%M%S"),
        ("202401020304_a.sql", "%Y%m%d%H%M"),
        ("20240102_a.sql", "%Y%m%d"),
        ("1510262030_a.sql", None),
    ],
)
def test_a_history_of_times_goes_on_with_the_time(
    tmp_path: Path, before: str, form: str | None
) -> None:
    earlier = datetime.now(UTC)
    (name,) = _next(tmp_path, before)
    version = name.split("_")[0]
    later = datetime.now(UTC)
    lowest, highest = [
        time.strftime(form) if form else str(int(time.timestamp())) for time in (earlier, later)
    ]
    assert lowest <= version <= highest


def test_a_version_that_would_be_too_wide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationFileError, match=r"no version of 2 digits comes after tenant/99"):
        _next(tmp_path, "99_a.sql")


def test_pairs_are_followed_by_pairs(tmp_path: Path) -> None:
    found = _next(tmp_path, "000001_a.up.sql", "000001_a.down.sql")
    assert found == ["000002_add_notes_pinned.up.sql", "000002_add_notes_pinned.down.sql"]


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("-- +goose Up\nSELECT 1;", "-- +goose Down"),
        ("-- +migrate Up\nSELECT 1;", "-- +migrate Down"),
        ("SELECT 1;\n---- create above / drop below ----\n", "---- create above / drop below ----"),
        ("-- migrate:up\nSELECT 1;", "-- migrate:down"),
        ("SELECT 1;", "-- migrate:down"),
    ],
)
def test_the_spelling_of_those_before_is_kept(tmp_path: Path, text: str, marker: str) -> None:
    (name,) = _next(tmp_path, "0001_a.sql", text=text)
    assert marker in (tmp_path / "tenant" / name).read_text()


def test_a_file_in_python_says_that_it_is_to_be_written(tmp_path: Path) -> None:
    (name,) = _next(tmp_path, "0001_a.sql", python=True)
    assert name == "0002_add_notes_pinned.py"
    text = (tmp_path / "tenant" / name).read_text()
    assert text.count("raise NotImplementedError") == 2
    assert _next(tmp_path) == ["0003_add_notes_pinned.sql"]


def test_a_file_for_the_shared_schema(tmp_path: Path) -> None:
    assert _next(tmp_path, "0007_a.sql", shared=True) == ["0001_add_notes_pinned.sql"]


def test_a_directory_of_migrations_is_gone_on_with_in_place(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("")
    assert new.create(_settings(tmp_path), "b") == (tmp_path / "0002_b.sql",)
    with pytest.raises(SettingsError, match="holds the tenants' migrations itself"):
        new.create(_settings(tmp_path), "c", shared=True)


def test_the_sql_directory_is_made_unless_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new.create(_settings(None), "a") == (Path("sql/tenant/0001_a.sql"),)
    with pytest.raises(SettingsError, match="is no directory: set TENANCY_SQL_DIR"):
        new.create(_settings(tmp_path / "none"), "a")


@pytest.mark.parametrize("title", ["", "  ", "---", "/../"])
def test_a_title_without_a_letter_is_refused(tmp_path: Path, title: str) -> None:
    with pytest.raises(MigrationFileError, match="no letter or digit"):
        new.create(_settings(tmp_path), title)


def test_a_title_is_no_path(tmp_path: Path) -> None:
    (path,) = new.create(_settings(tmp_path), "../../Été\n'x'; DROP")
    assert path == tmp_path / "tenant" / "0001_été_x_drop.sql"


def test_no_file_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new, "_next", lambda *_: "0001")
    (path,) = new.create(_settings(tmp_path), "a")
    path.write_text("SELECT 1")
    with pytest.raises(MigrationFileError, match=r"0001_a\.sql exists: it is left as it is"):
        new.create(_settings(tmp_path), "a")
    assert path.read_text() == "SELECT 1"


def test_the_command_prints_the_path_and_needs_no_database(tmp_path: Path) -> None:
    (tmp_path / "tenant").mkdir()
    env = {"TENANCY_SQL_DIR": str(tmp_path), "TENANCY_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
    done = CliRunner().invoke(migrate_group, ["new", "add notes pinned"], env=env)
    assert (done.exit_code, done.stdout) == (
        0,
        f"{tmp_path}/tenant/0001_add_notes_pinned.sql\n",
    )
    done = CliRunner().invoke(migrate_group, ["new", "--shared", "--python", "kinds"], env=env)
    assert re.fullmatch(r".*/shared/0001_kinds\.py\n", done.stdout)
    refused = CliRunner().invoke(migrate_group, ["new", "!"], env=env)
    assert (refused.exit_code, refused.stdout) == (6, "")
