"""The migrator works with the rights that sql/README.md lists, and says which one it lacks."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner
from support.databases import PASSWORD, SQL, at, superuser
from support.fleets import NOTES, Fleet
from support.processes import Result, environment, run

from tenancy import Settings, provision
from tenancy.errors import DatabaseSetupError
from tenancy.migrate.__main__ import migrate_group


def listed() -> str:
    """The SQL of the guide."""
    text = (SQL / "README.md").read_text()
    return text.partition("<!-- rights -->")[2].partition("```sql\n")[2].partition("```")[0]


@dataclass
class Place:
    """A database whose owner is a superuser, and two logins with exactly the listed rights."""

    root: asyncpg.Connection
    url: str
    name: str
    sql: Path

    @property
    def owner(self) -> str:
        return f"{self.name}_owner"

    def settings(self, **more: object) -> Settings:
        urls = {
            "database_url": at(self.url, user=f"{self.name}_app", database=self.name),
            "admin_database_url": at(self.url, user=self.owner, database=self.name),
        }
        return Settings(**{**urls, "sql_dir": self.sql, **more})  # type: ignore[arg-type]

    async def command(self, *arguments: str, isolation: str = "role", **variables: str) -> Result:
        env = environment(self.settings(isolation=isolation), **variables)
        if arguments[0] == "up":  # it listens to signals, which a thread cannot
            return await run("-m", "tenancy.migrate", *arguments, env=env)
        done = await asyncio.to_thread(CliRunner().invoke, migrate_group, arguments, env=env)
        return Result(done.exit_code, done.stdout, done.stderr)

    async def create(self, slug: str, **more: object) -> None:
        async with provision.administrator(self.settings(**more)) as admin:
            await admin.create(slug)


@pytest.fixture
async def place(server_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    name = f"test_rights_{secrets.token_hex(4)}"
    fleet = Fleet("", tmp_path / "sql")
    fleet.sql.mkdir()
    fleet.write("shared/0001_kinds.sql", "CREATE TABLE kinds (kind text PRIMARY KEY);")
    fleet.write("tenant/0001_notes.sql", NOTES)
    async with superuser(server_url) as conn:
        await conn.execute(f"CREATE DATABASE {name}")
        await conn.execute(re.sub(r"\bnotes", name, listed().replace("...", PASSWORD)))
    async with superuser(at(server_url, database=name)) as root:
        await root.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        yield Place(root, server_url, name, fleet.sql)
    async with superuser(server_url) as conn:
        await conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for row in await conn.fetch(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1) OR oid IN (SELECT roleid "
            "FROM pg_auth_members WHERE member IN ($2::regrole, $3::regrole)) ORDER BY rolname",
            *(name, f"{name}_app", f"{name}_owner"),
        ):
            await conn.execute(f'DROP ROLE IF EXISTS "{row[0]}"')


async def test_they_are_enough(place: Place) -> None:
    assert (await place.command("up")).code == 0
    await place.create("acme")
    (place.sql / "tenant/0002_more.sql").write_text(
        "CREATE TABLE more (id serial PRIMARY KEY); CREATE INDEX ON notes (body); "
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; "
        "CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION f();"
    )
    for command in (["up"], ["plan", "--check"], ["status"], ["snapshot"], ["snapshot", "--check"]):
        result = await place.command(*command)
        assert result.code == 0, result.err
    await place.create("globex")
    await place.root.execute(
        "CREATE SCHEMA old; SET search_path = old; "
        + NOTES
        + f"INSERT INTO notes (body) VALUES ('x');"
        f"GRANT {place.owner} TO CURRENT_USER; ALTER TABLE notes OWNER TO {place.owner}; "
        f"ALTER SCHEMA old OWNER TO {place.owner}; RESET search_path"
    )
    result = await place.command("adopt", "--schema", "old", "--slug", "third", "--at", "0001")
    assert result.code == 0, result.err
    assert (await place.command("up")).code == 0


async def test_level_schema_needs_no_createrole(place: Place) -> None:
    await place.root.execute(f"ALTER ROLE {place.owner} NOCREATEROLE")
    assert (await place.command("up", isolation="schema")).code == 0
    await place.create("acme", isolation="schema")
    with pytest.raises(DatabaseSetupError, match="CREATEROLE"):
        await place.create("globex")
    assert (await place.command("snapshot", isolation="schema")).code == 0


@pytest.mark.parametrize("command", [["up"], ["plan"], ["snapshot"]])
async def test_without_connect_the_message_says_so(place: Place, command: list[str]) -> None:
    await place.root.execute(f"REVOKE CONNECT ON DATABASE {place.name} FROM {place.owner}")
    result = await place.command(*command)
    assert (result.code, "GRANT CONNECT ON DATABASE" in result.err) == (4, True)


async def test_without_create_the_message_says_so(place: Place) -> None:
    revoke = f"REVOKE CREATE ON DATABASE {place.name} FROM {place.owner}"
    await place.root.execute(revoke)
    result = await place.command("up")
    assert (result.code, "GRANT CREATE ON DATABASE" in result.err) == (4, True)
    await place.root.execute(revoke.replace("REVOKE", "GRANT").replace("FROM", "TO"))
    assert (await place.command("up")).code == 0
    await place.create("acme")
    await place.root.execute(revoke)
    (place.sql / "tenant/0002_more.sql").write_text("CREATE TABLE more ();")
    assert (await place.command("up")).code == 0
    result = await place.command("snapshot")
    assert (result.code, "GRANT CREATE ON DATABASE" in result.err) == (4, True)
    with pytest.raises(DatabaseSetupError, match="GRANT CREATE ON DATABASE"):
        await place.create("globex")


async def test_the_other_database_is_read_with_select_alone(place: Place) -> None:
    assert (await place.command("up")).code == 0
    await place.root.execute(
        f"CREATE SCHEMA old; CREATE ROLE {place.name}_reader LOGIN PASSWORD '{PASSWORD}'; "
        f"GRANT CONNECT ON DATABASE {place.name} TO {place.name}_reader; "
        f"SET search_path = old; {NOTES} INSERT INTO notes (body) VALUES ('x'); RESET search_path"
    )
    arguments = ["adopt", "--from-url-env", "OLD_URL", "--from-schema", "old"]
    arguments += ["--slug", "acme", "--at", "0001"]
    url = at(place.url, user=f"{place.name}_reader", database=place.name)
    result = await place.command(*arguments, OLD_URL=url)
    assert result.code == 4
    assert "GRANT" in result.err
    await place.root.execute(
        f"GRANT USAGE ON SCHEMA old TO {place.name}_reader; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA old TO {place.name}_reader; "
        f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA old TO {place.name}_reader"
    )
    result = await place.command(*arguments, OLD_URL=url)
    assert result.code == 0, result.err


async def test_a_trusted_extension_takes_create_on_the_database(place: Place) -> None:
    if not await place.root.fetchval(
        "SELECT count(*) FROM pg_available_extension_versions WHERE name = 'citext' AND trusted"
    ):
        pytest.skip("this server has no citext")
    (place.sql / "shared/0002_citext.sql").write_text("CREATE EXTENSION citext;")
    (place.sql / "tenant/0002_mail.sql").write_text("ALTER TABLE notes ADD mail citext UNIQUE;")
    assert (await place.command("up")).code == 0
    result = await place.command("snapshot")
    assert result.code == 0, result.err
    await place.create("acme")
