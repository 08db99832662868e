"""Every command, setting and example of the README is one that works."""

import asyncio
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import asyncpg
import click
import pytest
from pydantic import SecretStr
from support.databases import PASSWORD, Database, at
from support.processes import environment, hypercorn, run

from tenancy import Settings, Tenancy, migrate, provision, settings
from tenancy.commands.tree import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "sql" / "README.md").read_text()


def _blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


async def test_the_fourteen_lines_serve_as_written(database: Database, tmp_path: Path) -> None:
    example = next(block for block in _blocks("python") if "by_subdomain" in block)
    assert len(example.strip().splitlines()) <= 14
    (tmp_path / "notes.py").write_text(example)
    env = environment(database.settings(), PYTHONPATH=str(tmp_path))
    async with hypercorn("notes:app", env=env, cwd=tmp_path, ready="/notes") as server:
        for slug in ("acme", "globex"):
            assert await server.get("/notes", f"{slug}.example.com") == (200, [])
        assert (await server.get("/notes", "nobody.example.com"))[0] == 404


async def test_the_script_runs_as_written(database: Database, tmp_path: Path) -> None:
    conn = await asyncpg.connect(database.admin_url)
    schema = await conn.fetchval("SELECT schema_name FROM tenancy.tenants WHERE slug = 'acme'")
    await conn.execute(f"INSERT INTO \"{schema}\".notes (body) VALUES ('small')")
    example = next(block for block in _blocks("python") if "asyncio.run" in block)
    (tmp_path / "script.py").write_text(example)
    result = await run("script.py", env=environment(database.settings()), cwd=tmp_path)
    assert result.code == 0, result.err
    assert await conn.fetchval(f'SELECT body FROM "{schema}".notes') == "SMALL"
    await conn.close()


async def test_the_recipe_for_a_server_of_ones_own_works(server_url: str) -> None:
    """Its roles and rights, under other names; then a tenant, with exactly those."""
    recipe = next(iter(_blocks("sql")))
    recipe = (
        re.sub(r"\bnotes\b", "recipe", recipe).replace("notes_", "recipe_").replace("'...'", "'x'")
    )
    conn = await asyncpg.connect(server_url)
    for statement in filter(str.strip, recipe.split(";")[:-1]):
        await conn.execute(statement)
    try:
        urls = {
            name: at(server_url, user=f"recipe_{name}", database="recipe").replace(PASSWORD, "x")
            for name in ("owner", "app")
        }
        settings = Settings(
            database_url=SecretStr(urls["app"]),
            admin_database_url=SecretStr(urls["owner"]),
            sql_dir=ROOT / "sql",
        )
        (await migrate.migrate(settings)).raise_for_failures()
        async with provision.administrator(settings) as admin:
            made = await admin.create("acme")
        async with Tenancy(settings=settings) as tenancy, tenancy.transaction("acme") as scoped:
            assert await scoped.fetchval("SELECT count(*) FROM notes") == 0
    finally:
        await conn.execute("DROP DATABASE recipe WITH (FORCE)")
        await conn.execute(f'DROP ROLE "{made.tenant.schema}"')
        await conn.execute("DROP ROLE recipe_owner; DROP ROLE recipe_app")
        await conn.close()


@pytest.mark.skipif(shutil.which("psql") is None, reason="needs psql to pipe the SQL to")
async def test_the_walls_are_raised_as_the_security_paper_says(
    database: Database, tmp_path: Path
) -> None:
    paper = (ROOT / "SECURITY.md").read_text()
    line = re.search(
        r"^(python -m tenancy walls \| psql -X -v ON_ERROR_STOP=1) -d notes\b", paper, re.MULTILINE
    )
    assert line is not None
    assert (await run("-m", "tenancy", "walls", "--help", env=environment())).code == 0
    command = line[1].replace("python", shlex.quote(sys.executable), 1)
    settings = database.settings(isolation="strict")
    process = await asyncio.create_subprocess_shell(
        f"{command} -d {shlex.quote(database.superuser_url)}",
        env=environment(settings),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    _, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    async with Tenancy(settings=settings) as tenancy, tenancy.transaction("acme") as conn:
        assert await conn.fetchval("SELECT count(*) FROM notes") == 0


def _commands() -> list[str]:
    blocks = _blocks("sh") + _blocks("sh", GUIDE)
    lines = [line for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("python -m tenancy")})


def _command(node: click.Command, name: str) -> click.Command | None:
    return node.get_command(click.Context(node), name) if isinstance(node, click.Group) else None


@pytest.mark.parametrize("command", _commands())
async def test_a_command_of_the_readme_is_one_of_the_command_line(command: str) -> None:
    words = [
        word
        for word in shlex.split(command, comments=True)[2:]
        if not word.startswith(("SLUG", "NAME"))
    ]
    if words[0] == "tenancy.migrate":
        words[:1] = ["tenancy", "migrate"]
    node: Any = cli
    rest = words[1:]
    while rest and (found := _command(node, rest[0])):
        node = found
        del rest[0]
    options = {option for parameter in node.params for option in parameter.opts}
    assert rest or not hasattr(node, "commands") or node.name == "migrate", "a command is missing"
    if rest and hasattr(node, "commands"):
        assert rest[0].startswith("--"), f"{rest[0]} is no command"
    for word in rest:
        if word.startswith("--"):
            assert word in options, f"{word} is no option of {command}"


def test_the_torture_is_run_by_words_that_exist(request: pytest.FixtureRequest) -> None:
    lines = re.search(r"<!-- torture -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert lines is not None
    known = {"--long", "--seed", "-s"}
    for line in lines[1].splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] in ("pytest", "python")
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), line
        assert {word for word in words if word.startswith("-")} <= known
    assert request.config.getoption("--long") is not None
    assert request.config.getoption("--seed", default="absent") != "absent"


def test_every_promise_of_the_security_paper_has_its_tests() -> None:
    paper = (ROOT / "SECURITY.md").read_text()
    promises = re.findall(r"^\| (G\d+) \| .* \| (.*) \|$", paper, re.MULTILINE)
    numbers = [int(name[1:]) for name, _ in promises]
    assert numbers == sorted(set(numbers))
    assert set(numbers) >= {*range(1, 16)}
    for name, tests in promises:
        paths = re.findall(r"`(tests/[a-z_/]+\.py)`", tests)
        assert paths, name
        assert all((ROOT / path).is_file() for path in paths), name


def test_the_readme_names_every_setting() -> None:
    for field in settings.Settings.model_fields:
        assert f"`{settings.variable(field)}`" in README


def test_the_readme_says_why_each_dependency_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=]", requirement)[0]
        assert re.search(rf"^\| {re.escape(name)} \|", README, re.MULTILINE), name


async def test_help_is_printed_by_every_command() -> None:
    results = await asyncio.gather(
        *(
            run("-m", "tenancy", *words, "--help", env=environment())
            for words in (
                [],
                ["serve"],
                ["tenants"],
                ["tenants", "create"],
                ["tenants", "limit"],
                ["migrate"],
                ["leakcheck"],
            )
        )
    )
    for result in results:
        assert result.code == 0
        assert "Usage: " in result.out
