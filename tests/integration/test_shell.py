"""Break-glass access: inside one tenant's scope, and on record."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from support.databases import Database, superuser
from support.processes import Result, environment, run

Shell = Callable[..., Awaitable[Result]]
WHERE = "SELECT current_user, current_schema(), current_setting('transaction_read_only')"


@pytest.fixture
async def shell(database: Database) -> Shell:
    env = environment(
        None,
        TENANCY_DATABASE_URL=database.app_url,
        TENANCY_ADMIN_DATABASE_URL=database.admin_url,
        TENANCY_REQUIRE_DURABILITY="false",
        USER="ada",
        LOGNAME="ada",
    )

    async def call(*arguments: str, stdin: str = "", why: str = "ticket 4711") -> Result:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tenancy", "shell", *arguments[:1], "--reason", why),
            *arguments[1:],
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    return call


async def _audit(database: Database) -> list[asyncpg.Record]:
    async with superuser(database.superuser_url) as conn:
        return list(
            await conn.fetch(
                "SELECT actor, slug, outcome, code, reason, detail::text AS detail "
                "FROM tenancy.audit WHERE action = 'shell' ORDER BY id"
            )
        )


async def test_psql_is_inside_the_tenants_scope_and_on_record(
    database: Database, shell: Shell
) -> None:
    done = await shell("acme", "--", "-AtX", "-c", WHERE)
    assert (done.code, done.err) == (0, "")
    role, schema, readonly = done.out.strip().split("|")
    assert role == schema
    assert role.startswith("t_acme_")
    assert readonly == "on"
    timeout = "SHOW idle_in_transaction_session_timeout"
    assert (await shell("acme", "--", "-AtX", "-c", timeout)).out == "5min\n"
    begun, ended, *_ = await _audit(database)
    assert (begun["slug"], begun["outcome"], begun["reason"]) == ("acme", "begun", "ticket 4711")
    assert (ended["outcome"], ended["actor"]) == ("done", begun["actor"])
    detail = json.loads(ended["detail"])
    assert detail.pop("seconds") >= 0
    assert detail == {"write": False, "program": "psql"}


async def test_nothing_is_written_unless_told(shell: Shell) -> None:
    write = "INSERT INTO notes (body) VALUES ('by hand') RETURNING body"
    refused = await shell("acme", "--", "-AtX", "-v", "ON_ERROR_STOP=1", "-c", write)
    assert refused.code == 1
    assert "read-only transaction" in refused.err
    assert "by hand" in (await shell("acme", "--write", "--", "-AtX", "-c", write)).out
    assert (await shell("globex", "--", "-AtX", "-c", "SELECT count(*) FROM notes")).out == "0\n"


async def test_another_tenants_tables_are_refused(database: Database, shell: Shell) -> None:
    async with superuser(database.superuser_url) as conn:
        schema = await conn.fetchval(
            "SELECT schema_name FROM tenancy.tenants WHERE slug = 'globex'"
        )
    refused = await shell("acme", "--", "-AtX", "-c", f"SELECT * FROM {schema}.notes")
    assert "permission denied" in refused.err


async def test_a_suspended_tenant_can_be_looked_into(database: Database, shell: Shell) -> None:
    async with superuser(database.superuser_url) as conn:
        await conn.execute("UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'acme'")
    assert (await shell("acme", "--", "-AtX", "-c", "SELECT 1")).out == "1\n"


async def test_a_python_prompt_awaits(database: Database, shell: Shell) -> None:
    lines = f"""
        row = await conn.fetchrow({WHERE!r})
        print(tenant.slug, row[0] == row[1] == tenant.schema, row[2])
        await conn.fetchval("SELECT 41 + 1")
    """
    done = await shell("acme", "--python", stdin="\n".join(map(str.strip, lines.splitlines())))
    assert (done.code, done.out) == (0, "acme True on\n42\n")
    failed = await shell("acme", "--python", stdin="await conn.execute('DELETE FROM notes')\n1\n")
    assert failed.code == 1
    assert "ReadOnlySQLTransactionError" in failed.err
    assert failed.out == "1\n"  # and it went on
    left = await shell("acme", "--python", stdin="exit()\nprint('not reached')\n")
    assert (left.code, left.out) == (0, "")
    assert [row["outcome"] for row in await _audit(database)] == ["begun", "done"] * 3


@pytest.mark.parametrize(
    ("arguments", "why", "words"),
    [
        (("nobody",), "why", "no tenant has the slug 'nobody'"),
        (("acme",), "  ", "say why, in words"),
        (("acme", "--python", "--", "-c", "SELECT 1"), "why", "takes no options of psql"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    database: Database, shell: Shell, arguments: tuple[str, ...], why: str, words: str
) -> None:
    refused = await shell(*arguments, why=why)
    assert refused.code == 2
    assert words in refused.err
    assert {row["outcome"] for row in await _audit(database)} <= {"refused"}


async def test_a_killed_session_is_on_record_as_begun(database: Database) -> None:
    env = environment(
        None, TENANCY_DATABASE_URL=database.app_url, TENANCY_ADMIN_DATABASE_URL=database.admin_url
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tenancy", "shell", "acme", "--reason", "why"),
        *("--", "-AtX", "-c", "SELECT pg_sleep(60)"),
        env={**env, "TENANCY_REQUIRE_DURABILITY": "false"},
    )
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tenancy shell acme'"
    async with superuser(database.superuser_url) as conn, asyncio.timeout(60):
        while not await conn.fetchval(asleep):  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 128 + 15
        while await conn.fetchval(asleep):  # psql has gone, and its query with it
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'tenancy shell acme'"
            )
    assert [row["outcome"] for row in await _audit(database)] == ["begun", "failed"]
    assert os.getpid() != process.pid


async def test_the_help_has_an_example() -> None:
    told = await run("-m", "tenancy", "shell", "--help", env=environment(None))
    assert "Example: python -m tenancy shell acme --reason" in told.out
