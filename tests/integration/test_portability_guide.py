"""What the operator's guide says of portability can be run as it stands."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.databases import Database, Logins, drop_database, make_database
from support.processes import environment
from support.trees import walk

import tenancy
from tenancy import migrate, provision
from tenancy.__main__ import cli

GUIDE = (Path(tenancy.__file__).parent / "provision" / "README.md").read_text()
PORTABILITY = re.split(r"^## ", GUIDE.partition("## Portability\n")[2], flags=re.MULTILINE)[0]
COMMANDS = [
    shlex.split(line, comments=True)[3:]
    for block in re.findall(r"```sh\n(.*?)```", PORTABILITY, re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture
async def other(server_url: str, logins: Logins) -> AsyncIterator[Database]:
    database = await make_database(server_url, logins)
    (await migrate.migrate(database.settings())).raise_for_failures()
    yield database
    await drop_database(server_url, database)


async def test_the_commands_of_the_guide_run_as_they_stand(
    database: Database, other: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(COMMANDS) == 5
    monkeypatch.chdir(tmp_path)
    Path("anonymise.sql").write_text("UPDATE notes SET body = 'x';")
    Path("other.env").write_text(
        f"TENANCY_DATABASE_URL={other.app_url}\nTENANCY_ADMIN_DATABASE_URL={other.admin_url}\n"
    )
    env = environment(database.settings())
    for command in COMMANDS:
        yes = ["--yes"] if "move" in command else []
        done = await asyncio.to_thread(CliRunner().invoke, cli, [*command, *yes], env=env)
        assert done.exit_code == 0, done.output
    async with provision.administrator(database.settings()) as admin:
        slugs = [profile.tenant.slug for profile in await admin.list()]
    assert slugs == ["acme", "acme-bare", "acme-copy", "acme-test", "globex"]
    async with provision.administrator(other.settings()) as admin:
        assert [profile.tenant.slug for profile in await admin.list()] == ["acme"]


def test_the_options_of_the_guide_are_real() -> None:
    options = set(re.findall(r"`?(--[a-z-]+)", PORTABILITY))
    commands = dict(walk(cli))
    real = {
        name
        for command in ("export", "import", "clone", "move")
        for parameter in commands["tenants", command].params
        for name in parameter.opts
    }
    assert options <= real
