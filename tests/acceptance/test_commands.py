"""The installed commands, as processes, against a service that runs meanwhile."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.databases import Database
from support.processes import Result, Served, environment, hypercorn, run

from tenancy.exits import Exit

BIN = Path(sys.executable).parent
HOOKS = """
from tenancy.errors import StepRefusedError
from tenancy.provision import Event, Hooks, Step

hooks = Hooks()


@hooks.before(Step.CREATE)
async def refuse(event: Event) -> None:
    if event.slug.startswith("bad"):
        raise StepRefusedError(f"{event.slug} is on the list of bad names")


@hooks.after(Step.CREATE)
async def welcome(event: Event) -> None:
    schema = event.profile.tenant.schema
    await event.conn.execute(f'INSERT INTO "{schema}".notes (body) VALUES (\\'welcome\\')')
"""
APP = """
from quart import Quart
from tenancy import Settings, Tenancy

app = Quart(__name__)
tenancy = Tenancy(settings=Settings(database_url={app!r}, admin_database_url={admin!r}))
tenancy.init_app(app)
"""


async def program(
    name: str, *words: str, env: Mapping[str, str], cwd: Path | None = None
) -> Result:
    """Run an installed command."""
    path = BIN / name
    if not path.exists():
        pytest.fail(f"{name} is not installed beside this Python: pip install -e .")
    return await run(str(path), *words, env=env, cwd=cwd)


async def tenancy(database: Database, *words: str, **more: str) -> Result:
    return await program("tenancy", *words, env=environment(database.settings(), **more))


def objects(result: Result) -> list[Any]:
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


async def until(server: Served, path: str, host: str, status: int) -> None:
    async with asyncio.timeout(30):
        while (await server.get(path, host))[0] != status:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.02)


async def test_a_tenant_that_a_command_makes_is_served_at_once(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "rules.py").write_text(HOOKS)
    more = {"TENANCY_HOOKS": "rules:hooks", "PYTHONPATH": _path(tmp_path)}
    env = environment(database.settings())
    async with hypercorn("tenancy.demo:create_app()", "--workers", "2", env=env) as server:
        host = "notes.initech.example"
        assert (await server.get("/notes", host))[0] in {404, 421}
        words = ("tenants", "create", "initech", "--domain", host, "--json")
        (made,) = objects(await tenancy(database, *words, **more))
        assert made["slug"] == "initech"
        await until(server, "/notes", host, 200)
        status, notes = await server.get("/notes", "initech.example.com")
        assert (status, [note["body"] for note in notes["notes"]]) == (200, ["welcome"])

        refused = await tenancy(database, "tenants", "create", "bad-name", **more)
        assert (refused.code, refused.out) == (Exit.REFUSED, "")
        assert refused.err == "tenancy: bad-name is on the list of bad names\n"
        assert (await server.get("/notes", "bad-name.example.com"))[0] == 404

    (entry,) = objects(await tenancy(database, "tenants", "history", "initech", "--json"))
    assert (entry["action"], entry["outcome"]) == ("create", "done")
    (entry,) = objects(await tenancy(database, "audit", "--slug", "bad-name", "--json"))
    assert (entry["outcome"], entry["code"]) == ("refused", "step_refused")


@pytest.mark.timeout(300)
async def test_a_whole_life_is_led_by_commands_while_requests_are_served(
    database: Database, tmp_path: Path
) -> None:
    env = environment(database.settings(), TENANCY_REDIRECT_FORMER_SLUGS="true")

    async def tell(*words: str) -> Any:
        done = await program("tenancy", "tenants", *words, "--json", env=env)
        return objects(done)[0]

    async with hypercorn("tenancy.demo:create_app()", env=env) as server:
        await tell("create", "initech")
        await until(server, "/notes", "initech.example.com", 200)
        assert (await server.post("/notes", {"body": "kept"}, "initech.example.com"))[0] == 201

        await tell("rename", "initech", "initrode")
        await until(server, "/notes", "initech.example.com", 308)
        await tell("domains", "add", "initrode", "notes.initrode.example", "--verified")
        await until(server, "/notes", "notes.initrode.example", 200)

        await tell("read-only", "initrode", "--reason", "an audit")
        host = "initrode.example.com"
        refused = {"body": "refused, once it is known to be read-only"}
        async with asyncio.timeout(30):
            while (await server.post("/notes", refused, host))[0] != 403:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await server.get("/notes", host))[0] == 200
        await tell("suspend", "initrode")
        await until(server, "/notes", host, 403)
        await tell("resume", "initrode")
        await until(server, "/notes", host, 200)

        await tell("clone", "initrode", "initrode-test")
        await until(server, "/notes", "initrode-test.example.com", 200)

        await _delete_with_questions(server, host, env)
        await until(server, "/notes", host, 404)
        await tell("restore", "initrode")
        await until(server, "/notes", host, 200)
        status, notes = await server.get("/notes", host)
        assert (status, notes["notes"][0]["body"]) == (200, "kept")

        archive = tmp_path / "initrode.tar.gz"
        await tell("delete", "initrode", "--yes", "--export", str(archive))
        early = await program("tenancy", "tenants", "purge", "initrode", "--yes", env=env)
        assert early.code == Exit.REFUSED
        await tell("purge", "initrode", "--yes", "--early")
        await until(server, "/notes", "notes.initrode.example", 421)
        assert (await server.get("/notes", "initrode-test.example.com"))[0] == 200
        await tell("import", str(archive), "--slug", "initech")
        await until(server, "/notes", "initech.example.com", 200)

    told = await program("tenancy", "tenants", "history", "initrode", "--json", env=env)
    steps = [(one["action"], one["outcome"]) for one in reversed(objects(told))]
    done = [step for step, outcome in steps if outcome == "done"]
    assert done[:9] == [
        "create", "rename", "add_domain", "read_only", "suspend", "resume", "clone", "delete",
        "restore",
    ]  # fmt: skip
    assert sorted(done[9:-1]) == ["delete", "export"]
    assert done[-1] == "purge"
    assert ("purge", "refused") in steps


async def test_a_list_is_read_by_state_by_word_and_page_by_page(database: Database) -> None:
    (whole,) = [objects(await tenancy(database, "tenants", "list", "--json"))]
    assert [one["slug"] for one in whole] == ["acme", "globex"]
    first = await tenancy(database, "tenants", "list", "--limit", "1", "--json")
    assert objects(first) == whole[:1]
    assert "--after acme" in first.err
    after = await tenancy(database, "tenants", "list", "--after", "acme", "--json")
    assert objects(after) == whole[1:]
    for words, slugs in (
        (("--search", "glo", "--state", "active"), ["globex"]),
        (("--state", "suspended"), []),
    ):
        found = objects(await tenancy(database, "tenants", "list", *words, "--json"))
        assert [one["slug"] for one in found] == slugs, words
    people = await tenancy(database, "tenants", "list")
    assert whole[0]["schema"] in people.out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("tenants", "show", "nobody"), Exit.USAGE, "no tenant has the slug 'nobody'"),
        (("tenants", "create", "Not A Slug"), Exit.USAGE, "Not A Slug"),
        (("tenants", "create", "acme"), Exit.REFUSED, "another tenant has the slug 'acme'"),
        (("tenants", "history", "nobody"), Exit.USAGE, "no tenant has the slug 'nobody'"),
        (("tenants", "list", "--state", "odd"), Exit.USAGE, "'odd' is not one of"),
        (("tenants", "nothing"), Exit.USAGE, "No such command 'nothing'"),
    ],
)
async def test_a_failure_is_one_line_and_its_exit_code(
    database: Database, words: tuple[str, ...], code: Exit, says: str
) -> None:
    done = await tenancy(database, *words)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert "Traceback" not in done.err
    assert database.admin_url not in done.err


async def test_a_database_that_is_away_is_exit_code_4(database: Database) -> None:
    env = environment(
        database.settings(),
        TENANCY_DATABASE_URL="postgresql://nobody:secret@127.0.0.1:9/none",
        TENANCY_ADMIN_DATABASE_URL="postgresql://nobody:secret@127.0.0.1:9/none",
    )
    done = await program("tenancy", "tenants", "list", env=env)
    assert done.code == Exit.ENVIRONMENT
    assert "secret" not in done.err


@pytest.mark.parametrize(
    "words", [("tenants", "list"), ("audit",), ("tokens", "list"), ("tenants", "suspend", "acme")]
)
async def test_a_database_without_a_catalog_is_exit_code_4(
    empty_database: Database, words: tuple[str, ...]
) -> None:
    done = await tenancy(empty_database, *words)
    assert done.code == Exit.ENVIRONMENT
    assert "run `python -m tenancy.migrate`" in done.err


async def test_hooks_that_cannot_be_loaded_are_exit_code_2(database: Database) -> None:
    done = await tenancy(database, "tenants", "list", TENANCY_HOOKS="nowhere:hooks")
    assert done.code == Exit.USAGE
    assert "loading nowhere:hooks failed" in done.err


async def test_quart_runs_the_same_commands_for_the_application_that_it_names(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APP.format(app=database.app_url, admin=database.admin_url))
    words = ("--app", "shop:app", "tenancy", "tenants")
    bare = environment()  # the application alone says which database
    listed = await program("quart", *words, "list", "--json", env=bare, cwd=tmp_path)
    assert [one["slug"] for one in objects(listed)] == ["acme", "globex"]
    failed = await program("quart", *words, "show", "nobody", env=bare, cwd=tmp_path)
    assert (failed.code, failed.err) == (2, "tenancy: no tenant has the slug 'nobody'\n")

    env = environment(database.settings())  # and without one, the environment
    listed = await program("quart", "tenancy", "tenants", "list", "--json", env=env, cwd=tmp_path)
    assert [one["slug"] for one in objects(listed)] == ["acme", "globex"]
    absent = await program("quart", "--app", "none:app", *words[2:], "list", env=env, cwd=tmp_path)
    assert absent.code == Exit.USAGE
    assert "none" in absent.err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tenancy tenants hist", ["history"]),
        ("tenancy tenants show a", ["acme"]),
        ("tenancy tenants show nobody", []),
        ("tenancy migrate up --tenant glo", ["globex"]),
        ("tenancy tenants list --state read", ["read_only"]),
        ("tenancy tenants limit acme --max", ["--max-connections"]),
    ],
)
async def test_bash_completes_commands_options_and_slugs(
    database: Database, line: str, found: list[str]
) -> None:
    words = line.split()
    script = (
        'complete() { :; }; eval "$(tenancy completion bash)"; '
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); "
        '_tenancy_completion tenancy; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    env = environment(database.settings(), PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert out.decode().split() == found, err.decode()


async def test_a_completion_starts_no_server_and_complains_of_none(tmp_path: Path) -> None:
    env = environment(
        TENANCY_DATA_DIR=str(tmp_path / "data"),
        _TENANCY_COMPLETE="zsh_complete",
        COMP_WORDS="tenancy tenants show a",
        COMP_CWORD="3",
    )
    done = await program("tenancy", env=env, cwd=tmp_path)
    assert (done.out.strip(), done.err) == ("", "")
    assert not (tmp_path / "data").exists()


def _path(folder: Path) -> str:
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


async def _typed(*words: str, said: str, env: Mapping[str, str]) -> Result:
    """Run a command of `tenants`, and answer its question."""
    process = await asyncio.create_subprocess_exec(
        *(str(BIN / "tenancy"), "tenants", *words),
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(f"{said}\n".encode()), 60)
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


async def _delete_with_questions(server: Served, host: str, env: Mapping[str, str]) -> None:
    silent = await program("tenancy", "tenants", "delete", "initrode", env=env)
    assert (silent.code, silent.out) == (Exit.USAGE, "")
    assert "nothing was changed: add --yes" in silent.err
    typed = await _typed("delete", "initrode", said="initech", env=env)
    assert typed.code == Exit.USAGE
    assert "that is not initrode" in typed.err
    assert (await server.get("/notes", host))[0] == 200
    typed = await _typed("delete", "initrode", "--json", said="initrode", env=env)
    assert objects(typed)[0]["state"] == "deleting"
