"""`lint`: which files, which rules, squawk's words in ours, what it prints, how it ends."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tenancy.migrate.__main__ import migrate_group
from tenancy.migrate.files.folder import packaged_sql_folder
from tenancy.migrate.lint import classic
from tenancy.migrate.lint.catalog import RULES

NOTES = "CREATE TABLE notes (id bigint PRIMARY KEY, body text);\n"


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A sql directory with one good file."""
    folder = tmp_path / "sql"
    (folder / "tenant").mkdir(parents=True)
    (folder / "tenant/0001_notes.sql").write_text(NOTES)
    return folder


def _lint(sql: Path, *arguments: str, **variables: str) -> Result:
    env = {"TENANCY_SQL_DIR": str(sql), "TENANCY_DATABASE_URL": "postgresql://nowhere.invalid/x"}
    return CliRunner().invoke(migrate_group, ["lint", *arguments], env={**env, **variables})


def _objects(sql: Path, *arguments: str) -> list[dict[str, Any]]:
    lines = _lint(sql, "--json", *arguments).stdout.splitlines()
    return [json.loads(line) for line in lines]


def _rules(sql: Path, *arguments: str) -> list[str]:
    return [one["rule"] for one in _objects(sql, *arguments) if one["event"] == "finding"]


def _write(sql: Path, name: str, text: str) -> None:
    (sql / "tenant" / name).write_text(text)


def test_it_needs_no_database_and_ends_with_0_where_nothing_is_found(sql: Path) -> None:
    done = _lint(sql)
    assert done.exit_code == 0
    assert done.stdout == "nothing found in 1 file\n"


def test_a_finding_says_where_what_why_and_what_to_write_instead(sql: Path) -> None:
    _write(sql, "0002_rights.sql", "SELECT 1;\n  GRANT SELECT ON notes TO reader;\n")
    done = _lint(sql)
    assert done.exit_code == 8
    where, instead, total = done.stdout.splitlines()
    assert where.startswith("tenant/0002_rights.sql:2:3: error rights: who may use ")
    assert instead.startswith("    instead: remove it")
    assert total == "1 error in 1 of 2 files"


def test_warnings_are_no_failure_unless_it_is_strict(sql: Path) -> None:
    _write(sql, "0002_type.sql", "CREATE TYPE mood AS ENUM ('sad');")
    assert _lint(sql).exit_code == 0
    assert _lint(sql, "--strict").exit_code == 8


def test_every_fault_is_told_not_the_first_one_alone(sql: Path) -> None:
    _write(sql, "0002_bad.sql", "SET search_path = x;\nCREATE ROLE a;\nRESET ALL;\nNOTIFY a;\n")
    found = {(one["line"], one["rule"]) for one in _objects(sql) if one["event"] == "finding"}
    assert {(1, "search-path"), (2, "cluster-object"), (3, "search-path")} <= found
    assert (4, "notification") in found


def test_a_name_that_the_migrator_refuses_is_a_finding_too(sql: Path) -> None:
    _write(sql, "notes.sql", "SELECT 1;")
    done = _lint(sql)
    assert done.exit_code == 8
    assert "tenant/notes.sql:1:1: error unreadable: is not named" in done.stdout


def test_only_the_way_up_is_read_at_its_own_lines(sql: Path) -> None:
    down = "-- migrate:down\nDROP TABLE public.x;\nGRANT SELECT ON notes TO a;\n"
    _write(sql, "0002_x.sql", f"-- migrate:up\nSELECT 1;\nDROP TABLE notes;\n{down}")
    found = [one for one in _objects(sql) if one["event"] == "finding"]
    assert [(one["line"], one["rule"]) for one in found] == [(3, "ban-drop-table")]


def test_files_can_be_named_by_path_or_by_stage(sql: Path) -> None:
    _write(sql, "0002_drop.sql", "DROP TABLE notes;")
    _write(sql, "0003_drop.sql", "DROP TABLE notes;")
    for name in ("tenant/0002_drop.sql", str(sql / "tenant/0002_drop.sql")):
        found = _objects(sql, name)
        assert {one["file"] for one in found[:-1]} == {"tenant/0002_drop.sql"}
        assert found[-1]["files"] == 1
    done = _lint(sql, "tenant/0009_none.sql")
    assert done.exit_code == 2
    assert "0009_none.sql is no migration" in done.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_since_looks_at_what_git_calls_new_or_changed(sql: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(sql), *who, *arguments], check=True, capture_output=True)

    _write(sql, "0002_old.sql", "DROP TABLE notes;")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "before")
    _write(sql, "0003_new.sql", "DROP TABLE notes;")
    found = _objects(sql, "--since", "HEAD")
    assert {one["file"] for one in found[:-1]} == {"tenant/0003_new.sql"}
    done = _lint(sql, "--since", "no-such-branch")
    assert done.exit_code == 2
    assert "git does not tell what is new: fatal: " in done.stderr
    assert "no-such-branch" in done.stderr


def test_rules_can_be_chosen(sql: Path) -> None:
    text = "CREATE TYPE mood AS ENUM ('sad'); NOTIFY a; CREATE TABLE x (at timestamp);"
    _write(sql, "0002_x.sql", text)
    assert _rules(sql) == ["tenant-type", "notification"]
    assert _rules(sql, "--rule", "notification") == ["notification"]
    assert _rules(sql, "--no-rule", "notification") == ["tenant-type"]
    assert _rules(sql, "--rule", "prefer-timestamp-tz") == ["prefer-timestamp-tz"]
    assert "prefer-timestamp-tz" in _rules(sql, "--also", "prefer-timestamp-tz")
    done = _lint(sql, "--rule", "nonsense")
    assert done.exit_code == 2
    assert "no rule is called 'nonsense'" in done.stderr


def test_an_ignored_finding_of_another_rule_is_told(sql: Path) -> None:
    _write(sql, "0002_x.sql", "-- lint:ignore tenant-type here it may\nNOTIFY a;")
    assert _rules(sql) == ["ignore", "notification"]
    # What was not asked cannot be called superfluous.
    assert _rules(sql, "--rule", "notification", "--rule", "ignore") == ["notification"]


def test_squawk_is_ignored_in_the_same_words(sql: Path) -> None:
    _write(sql, "0002_x.sql", "-- lint:ignore ban-drop-table nobody reads it\nDROP TABLE notes;")
    assert _rules(sql) == []


def test_a_python_file_is_ignored_by_its_own_comments(sql: Path) -> None:
    text = (
        "import time\n\n\nasync def up(context):\n"
        "    # lint:ignore python-blocking a thousandth of a second\n"
        "    context, time.sleep(0.001)\n"
    )
    _write(sql, "0002_x.py", text)
    assert _rules(sql) == []


# squawk


def test_its_lines_and_columns_are_ours_in_characters(sql: Path) -> None:
    text = "-- Grüße\nCREATE TABLE ä (a text DEFAULT '€'); DROP TABLE notes;\n"
    _write(sql, "0002_x.sql", text)
    found = _objects(sql)[0]
    assert (found["line"], found["rule"]) == (2, "ban-drop-table")
    assert found["column"] == text.split("\n")[1].index("DROP") + 1


def test_it_knows_what_the_migrator_does_anyway(sql: Path) -> None:
    concurrent = "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY i ON notes (body);"
    _write(sql, "0002_add.sql", "ALTER TABLE notes ADD COLUMN a int;")
    _write(sql, "0003_index.sql", concurrent)
    _write(sql, "0004_new.sql", "CREATE TABLE n (a bigint); CREATE INDEX n_a ON n (a);")
    assert _rules(sql) == []


def test_what_it_cannot_read_keeps_it_from_nothing_else(sql: Path) -> None:
    _write(sql, "0002_x.sql", "SELEC 1;\nDROP TABLE notes;\n")
    assert _rules(sql) == ["syntax-error", "ban-drop-table"]


def test_one_thing_is_said_once(sql: Path) -> None:
    text = (
        "ALTER TABLE notes ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES tags (id);\n"
        "ALTER TABLE notes ALTER COLUMN id TYPE int, ALTER COLUMN body TYPE varchar(9);\n"
    )
    _write(sql, "0002_x.sql", text)
    assert _rules(sql) == ["adding-foreign-key-constraint", "changing-column-type"]


def test_without_it_our_rules_run_and_say_so(sql: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(sql, "0002_x.sql", "DROP TABLE notes; NOTIFY a;")
    monkeypatch.setattr(classic, "installed", lambda _version: None)
    done = _lint(sql)
    assert done.exit_code == 0
    assert "notification" in done.stdout
    assert "ban-drop-table" not in done.stdout
    assert "pip install 'tenancy[lint]'" in done.stderr
    assert _objects(sql)[-1]["squawk"] is False
    assert _lint(sql, "--require-squawk").exit_code == 4


def test_each_rule_of_its_that_we_name_it_knows(sql: Path) -> None:
    squawk = classic.installed(15)
    assert squawk is not None
    names = classic.KNOWN - {"syntax-error"}
    options = [f"--exclude={name}" for name in names]
    path = str(sql / "tenant/0001_notes.sql")
    done = subprocess.run([squawk.program, *options, path], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


# The guide


def test_the_guide_lists_each_rule_with_its_level() -> None:
    guide = (packaged_sql_folder() / "README.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (error|warning) \|", guide, re.MULTILINE))
    assert listed == {rule.name: str(rule.level) for rule in RULES}


def test_the_guide_names_each_rule_of_squawks_that_is_on() -> None:
    guide = (packaged_sql_folder() / "README.md").read_text()
    section = guide.partition("squawk's rules")[2]
    assert {name for name in classic.ON if f"`{name}`" not in section} == set()


def test_rules_are_listed_by_the_command(sql: Path) -> None:
    done = _lint(sql, "--rules")
    assert done.exit_code == 0
    names = [line.partition(" ")[0] for line in done.stdout.splitlines()]
    assert names == [*(rule.name for rule in RULES), *classic.ON, *classic.OFF]
