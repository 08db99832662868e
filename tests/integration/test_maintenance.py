"""What falls due is done, and one failure ends nothing else."""

import asyncio
import json
import re
import shlex
import signal
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from support import lives
from support.databases import Database, superuser
from support.fleets import ended
from support.processes import environment, started

from tenancy import provision
from tenancy.commands.tree import cli
from tenancy.errors import TenancyError
from tenancy.provision import Administrator, maintenance
from tenancy.provision.maintenance import Done, Task

NOW = timedelta(0)


async def _slugs(database: Database) -> list[str]:
    async with provision.administrator(database.settings()) as admin:
        return [profile.tenant.slug for profile in await admin.list()]


async def _deleted(database: Database, *slugs: str, after: timedelta = NOW) -> None:
    async with provision.administrator(database.settings()) as admin:
        for slug in slugs:
            await admin.create(slug)
            await admin.delete(slug, after=after)


async def _round(database: Database, tasks: Mapping[str, Task] | None = None) -> list[Done]:
    given = maintenance.TASKS if tasks is None else tasks
    return [done async for done in maintenance.once(database.settings(), given)]


async def test_those_whose_date_has_come_are_purged_and_no_others(database: Database) -> None:
    await _deleted(database, "initech", "hooli")
    await _deleted(database, "later", after=timedelta(days=1))
    assert (await _round(database))[0] == Done("purge", 2)
    assert await _slugs(database) == ["acme", "globex", "later"]
    assert (await _round(database))[0] == Done("purge", 0)
    async with superuser(database.superuser_url) as conn:
        actors = await conn.fetch("SELECT DISTINCT actor FROM tenancy.audit WHERE action = 'purge'")
        assert [row["actor"] for row in actors] == ["maintenance"]


async def test_a_purge_that_was_interrupted_goes_on(database: Database) -> None:
    before = await lives.traces(database, "")
    await _deleted(database, "initech", after=timedelta(days=30))
    async with provision.administrator(database.settings()) as admin:
        lives.cut_after(admin.connection, 25)
        with pytest.raises(Exception, match="closed"):
            await admin.purge("initech", early=True)
    assert (await _round(database))[0] == Done("purge", 1)
    assert await lives.traces(database, "") == before


async def test_one_that_cannot_be_purged_is_named_and_the_others_are(database: Database) -> None:
    await _deleted(database, "hooli", "initech", "umbrella")
    async with superuser(database.superuser_url) as conn:
        schema = await conn.fetchval(
            "SELECT schema_name FROM tenancy.tenants WHERE slug = 'initech'"
        )
        await conn.execute(f"CREATE VIEW public.report AS SELECT body FROM {schema}.notes")
        done = (await _round(database))[0]
        assert (done.code, done.message) == ("maintenance", "1 cannot be purged, 2 were: initech")
        assert await _slugs(database) == ["acme", "globex", "initech"]
        await conn.execute("DROP VIEW public.report")
    assert (await _round(database))[0] == Done("purge", 1)


async def test_one_that_somebody_else_is_purging_is_left_to_him(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "WAIT_SECONDS", 0.0)
    await _deleted(database, "hooli", "initech")
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            "SELECT pg_advisory_lock(7306118, schema_name::regnamespace::oid::int) "
            "FROM tenancy.tenants WHERE slug = 'hooli'"
        )
        assert (await _round(database))[0] == Done("purge", 1)
        assert await _slugs(database) == ["acme", "globex", "hooli"]


async def test_a_task_that_fails_ends_no_other(database: Database) -> None:
    async def fails(_: Administrator) -> int:
        raise TenancyError("no")

    async def is_refused(admin: Administrator) -> int:
        await admin.connection.execute("SELECT 1/0")
        return 1

    async def does(admin: Administrator) -> int:
        return int(await admin.connection.fetchval("SELECT 7"))

    tasks = {"fails": fails, "is_refused": is_refused, "does": does}
    assert await _round(database, tasks) == [
        Done("fails", 0, "internal_error", "no"),
        Done("is_refused", 0, "DivisionByZeroError", "division by zero"),
        Done("does", 7),
    ]


async def test_a_database_that_is_away_is_said_to_be_and_tried_again(database: Database) -> None:
    settings = database.settings(
        admin_database_url=SecretStr("postgresql://nobody@127.0.0.1:1/nowhere")
    )
    rounds = maintenance.forever(settings, 0.001)
    for _ in range(2 * len(maintenance.TASKS)):
        assert (await anext(rounds)).code == "database_unavailable"
    await rounds.aclose()  # type: ignore[attr-defined]


async def _command(database: Database, *arguments: str) -> tuple[int, str, str]:
    env = environment(database.settings())
    done = await asyncio.to_thread(CliRunner().invoke, cli, arguments, env=env)
    return done.exit_code, done.stdout, done.stderr


async def test_the_commands_delete_restore_and_purge(database: Database) -> None:
    code, out, _ = await _command(
        *(database, "tenants", "delete", "acme", "--after", "90", "--reason", "over"),
        *("--yes", "--json"),
    )
    assert code == 0
    assert json.loads(out)["state"] == "deleting"
    assert json.loads(out)["purge_at"]
    code, out, _ = await _command(database, "tenants", "restore", "acme", "--json")
    assert (code, json.loads(out)["state"], json.loads(out)["purge_at"]) == (0, "active", None)
    assert (await _command(database, "tenants", "delete", "acme"))[0] == 2  # nobody answers
    await _command(database, "tenants", "delete", "acme", "--yes")
    purge = ("tenants", "purge", "acme", "--early", "--wait", "60", "--yes")
    assert await _command(database, *purge) == (0, "acme is purged\n", "")
    assert await _slugs(database) == ["globex"]
    async with superuser(database.superuser_url) as conn:
        reasons = await conn.fetch("SELECT reason FROM tenancy.audit WHERE reason IS NOT NULL")
        assert [row["reason"] for row in reasons] == ["over"]


async def test_the_commands_of_the_guide_work_as_written(database: Database) -> None:
    guide = (Path(provision.__file__).parent / "README.md").read_text()
    lines = [
        line.partition("#")[0].strip()
        for section in ("Deleting", "Maintenance")
        for line in re.findall(
            r"^python -m tenancy .*",
            guide.partition(f"\n## {section}\n")[2].partition("\n## ")[0],
            re.MULTILINE,
        )
    ]
    assert len(lines) == 7
    for line in lines:
        arguments = shlex.split(line.removeprefix("python -m tenancy "))
        arguments += ["--yes"] if {"delete", "purge"} & {*arguments} else []
        if arguments[0] == "maintain" and "--once" not in arguments:
            arguments += ["--help"]  # it would go on for ever
        code, _, err = await _command(database, *arguments)
        assert code == 0, (line, err)
    assert await _slugs(database) == ["globex"]


async def test_one_round_says_what_was_done_and_fails_with_its_tasks(database: Database) -> None:
    await _deleted(database, "hooli", "initech")
    env = environment(database.settings())
    command = ("-m", "tenancy", "maintain", "--once")
    first = await ended(await started(*command, "--json", env=env))
    assert first.code == 0, first.err
    assert json.loads(first.out.splitlines()[0]) == Done("purge", 2).as_json()
    away = {**env, "TENANCY_ADMIN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere"}
    failed = await ended(await started(*command, env=away))
    assert (failed.code, failed.out) == (3, "")
    assert "purge: the database does not answer" in failed.err


async def test_the_process_purges_when_it_falls_due_and_ends_when_told(database: Database) -> None:
    env = environment(database.settings())
    process = await started("-m", "tenancy", "maintain", "--every", "0.1", env=env)
    try:
        await _deleted(database, "hooli")
        async with asyncio.timeout(60):
            while "hooli" in await _slugs(database):  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0.05)
            assert process.stdout is not None
            assert await process.stdout.readline() == b"purge: 1 done\n"
    finally:
        process.send_signal(signal.SIGTERM)
        result = await ended(process)
    assert (result.code, result.err) == (0, "")
