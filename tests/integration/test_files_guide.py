"""The guide's section on files: each of its examples is loaded and run, each option is known."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.fleets import Fleet

from tenancy.migrate import Outcome
from tenancy.migrate.__main__ import migrate_group
from tenancy.migrate.files import folder as folders
from tenancy.migrate.files.model import Stage

GUIDE = (Path(__file__).parents[2] / "sql" / "README.md").read_text()
FILES = GUIDE.split("\n## Files\n")[1].split("\n## ")[0]
EXAMPLES = dict(re.findall(r"```sql\n-- (\S+\.sql)\n(.*?)```", FILES, re.DOTALL))
OPTIONS = re.findall(r"^\| `([a-z_]+:\S+)` \|", FILES, re.MULTILINE)
ROWS = re.findall(r"^\| ([\w-]+) \| (.*?) \| (.*?) \|$", FILES, re.MULTILINE)
TOOLS = [row for row in ROWS if row[0] not in {"option", "tool"}]


async def test_the_examples_run_in_many_tenants(fresh: Fleet) -> None:
    assert len(EXAMPLES) == FILES.count("```sql\n") == 4
    fleet = Fleet(fresh.dsn, fresh.sql, "public")
    for name, text in EXAMPLES.items():
        fleet.write(name, text)
    (await fleet.up()).raise_for_failures()
    await fleet.add("acme", "globex")
    report = await fleet.up()
    assert {r.outcome for r in report.results} == {Outcome.APPLIED}, [r.why for r in report.results]
    second, third = fleet.files.tenant[1:3]
    assert second.directives.lock_timeout == 1000
    assert second.down is not None
    assert not third.directives.transactional
    assert [one.words.split()[0] for one in third.source.statements] == ["CREATE", "BEGIN"]
    for schema in ("t_acme", "t_globex"):
        assert await fleet.fetch(f"SELECT last_value FROM {schema}.tags_id_seq") == [(100,)]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_the_guide_is_followed(tmp_path: Path, option: str) -> None:
    (tmp_path / "0001_a.sql").write_text(f"-- migrate:up {option}\nSELECT 1")
    (tmp_path / "0002_b.sql").write_text("-- migrate:up\nSELECT 1")
    said, unsaid = folders.load(tmp_path, Stage.TENANT)
    assert said.directives != unsaid.directives


def test_no_option_is_left_out_of_the_guide(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("-- migrate:up what:ever")
    with pytest.raises(Exception, match="the options are") as refused:
        folders.load(tmp_path, Stage.TENANT)[0].check()
    known = str(refused.value).split("the options are ")[1].split(", ")
    assert [option.split(":")[0] for option in OPTIONS] == known


@pytest.mark.parametrize(("tool", "names", "spelled"), TOOLS)
def test_every_spelling_of_the_guide_is_read(
    tmp_path: Path, tool: str, names: str, spelled: str
) -> None:
    name = next(iter(re.findall(r"`(\d\S+\.sql)`", names)), "000001_a.up.sql")
    words = re.findall(r"`(--[^`]*)`", spelled)
    marks = [re.sub(r" \[(.*?)\]", r" \1", word) for word in words]
    text = "\n".join([*marks[:1], "SELECT 1;", *marks[1:]])
    if tool == "tern":
        text = f"{marks[1]}\nSELECT 1;\n{marks[0]}\nSELECT 2;"
    (tmp_path / name).write_text(text)
    (loaded,) = folders.load(tmp_path, Stage.TENANT)
    assert len(loaded.source.statements) == 1
    assert loaded.directives.transactional == (tool == "goose")
    assert len(TOOLS) == 7


def test_new_is_what_the_guide_says(tmp_path: Path) -> None:
    (command,) = re.findall(r"`python -m tenancy\.migrate (new) \"(add pinned)\"`", FILES)
    env = {"TENANCY_SQL_DIR": str(tmp_path)}
    for more in ([], ["--shared"], ["--python"]):
        done = CliRunner().invoke(migrate_group, [*command, *more], env=env)
        assert (done.exit_code, Path(done.stdout.strip()).is_file()) == (0, True)
