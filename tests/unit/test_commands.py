"""Every command says what it does, with an example that works, and is alike to the others."""

import json
from importlib.metadata import entry_points

import click
import pytest
from click.testing import CliRunner
from support.trees import examples, parse, walk

from tenancy.commands import common
from tenancy.commands.tree import cli
from tenancy.errors import UnknownTenantError
from tenancy.exits import Exit

TREE = {" ".join(path): command for path, command in walk()}
LEAVES = {path: command for path, command in TREE.items() if not isinstance(command, click.Group)}

# What these print is a text to paste or to keep, a session, or a server's log.
WITHOUT_JSON = {"serve", "admin", "shell", "walls", "settings", "completion"}

# What these do is no change of a tenant that the audit would be told a reason of.
WITHOUT_REASON = {"history", "list", "show", "grant", "ready"}
ASKING = {"reports drop", "tenants delete", "tenants purge", "migrate down", "migrate unlock"}


@pytest.mark.parametrize("path", TREE)
def test_a_command_helps(path: str) -> None:
    done = CliRunner().invoke(cli, [*path.split(), "--help"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Usage: ")
    short = CliRunner().invoke(cli, [*path.split(), "-h"])
    assert short.output == done.output


@pytest.mark.parametrize("path", LEAVES)
def test_its_help_has_an_example_of_itself_that_click_takes(path: str) -> None:
    help_ = LEAVES[path].help
    assert help_, "says nothing"
    lines = examples(help_)
    assert lines, f"{path} has no example"
    for line in lines:
        assert parse(line) is LEAVES[path], f"{line} is not of {path}"
    shown = CliRunner().invoke(cli, [*path.split(), "--help"]).output
    assert examples(shown) == lines, "a terminal breaks it"


@pytest.mark.parametrize("path", TREE)
def test_each_of_its_options_is_explained(path: str) -> None:
    for parameter in TREE[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts[0]}"
            assert parameter.opts[-1].startswith("--")


@pytest.mark.parametrize("path", sorted(set(LEAVES) - WITHOUT_JSON))
def test_it_prints_json_where_asked(path: str) -> None:
    options = {name for parameter in LEAVES[path].params for name in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize("path", sorted(ASKING))
def test_one_that_destroys_asks_unless_told(path: str) -> None:
    options = {name for parameter in LEAVES[path].params for name in parameter.opts}
    assert "--yes" in options


@pytest.mark.parametrize("path", [path for path in LEAVES if path.startswith("tenants ")])
def test_one_that_changes_a_tenant_takes_a_reason(path: str) -> None:
    options = {name for parameter in LEAVES[path].params for name in parameter.opts}
    assert ("--reason" in options) is (path.rsplit(maxsplit=1)[-1] not in WITHOUT_REASON)


@pytest.mark.parametrize("path", LEAVES)
def test_an_option_is_called_alike_everywhere(path: str) -> None:
    """`--json`, `--yes` and their like never have two names, or two kinds."""
    for parameter in LEAVES[path].params:
        if {"--json", "--yes", "--debug"} & set(parameter.opts):
            assert isinstance(parameter, click.Option)
            assert parameter.is_flag


@pytest.mark.parametrize("path", LEAVES)
def test_a_slug_is_completed(path: str) -> None:
    for parameter in LEAVES[path].params:
        names_one = parameter.name == "slug" or parameter.metavar == "SLUG"
        if names_one and path not in {"tenants create", "tenants import", "migrate adopt"}:
            assert parameter._custom_shell_complete is not None, f"{path} {parameter.opts}"


def test_a_misspelt_command_or_option_is_usage() -> None:
    for words in (["tenant"], ["tenants", "creat"], ["tenants", "list", "--stat", "x"]):
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == Exit.USAGE
        assert "Try" in done.stderr


@pytest.mark.parametrize(("typed", "passes"), [("acme\n", True), ("acm\n", False), ("", False)])
def test_a_slug_must_be_typed_whole(typed: str, *, passes: bool) -> None:
    @click.command()
    def destroy() -> None:
        common.confirmed("acme", yes=False)
        click.echo("destroyed")

    done = CliRunner().invoke(destroy, input=typed)
    assert ("destroyed" in done.stdout) is passes
    assert done.exit_code == (0 if passes else Exit.USAGE)
    if not passes:
        assert "nothing was changed" in done.stderr
    assert "acme" in done.stderr  # the question goes where people read, and no program


def test_nobody_is_asked_who_said_yes() -> None:
    common.confirmed("acme", yes=True)


def test_quart_finds_the_same_tree() -> None:
    points = {point.name: point for point in entry_points(group="quart.commands")}
    if "tenancy" not in points:
        pytest.fail("the package's metadata are older than pyproject.toml: pip install -e . again")
    assert points["tenancy"].load() is cli


def test_the_tree_ends_with_our_codes_wherever_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def fail() -> None:
        raise UnknownTenantError("no tenant has the slug 'x'")

    @click.command()
    def leave() -> None:
        click.get_current_context().exit(9)

    monkeypatch.setattr(
        type(cli), "get_command", lambda _, __, name: {"fail": fail, "leave": leave}.get(name)
    )
    above = click.Group("quart", commands={"tenancy": cli})
    done = CliRunner().invoke(above, ["tenancy", "fail"])
    assert (done.exit_code, done.stderr) == (Exit.USAGE, "tenancy: no tenant has the slug 'x'\n")
    assert CliRunner().invoke(above, ["tenancy", "leave"]).exit_code == 9


def test_a_table_is_whole_where_a_pipe_reads_it() -> None:
    @click.command()
    def show() -> None:
        common.print_table(("slug", "domains"), [("a" * 60, "[b]x[/b]" + "y" * 200)])

    out = CliRunner().invoke(show).stdout
    assert "a" * 60 in out
    assert "[b]x[/b]" + "y" * 200 in out
    assert json.dumps(out).count("\\n") == 2


def test_a_table_has_nothing_that_a_terminal_obeys() -> None:
    """A reason comes from whoever has a token, and is read on the operator's terminal."""

    @click.command()
    def show() -> None:
        typed = "\x1b]52;c;bHM=\x1b\\ \x1b[2J \x9b2J \r\b\x07 \u202e d\u00e9j\u00e0 vu"
        common.print_table(("why",), [(typed,), ("one\ntwo",)])

    out = CliRunner().invoke(show).stdout
    assert all(line.isprintable() for line in out.splitlines())
    assert r"\x1b]52;c;bHM=\x1b\ " in out
    assert r"one\ntwo" in out
    assert "d\u00e9j\u00e0 vu" in out
