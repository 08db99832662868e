"""A database restored from a dump: the ledger knows its schemas by the oids of another one."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import pytest
from support.databases import at
from support.fleets import Fleet

from tenancy.embedded.programs import program


@pytest.fixture
async def migrated(fleet: Fleet) -> Fleet:
    """Five tenants with two files, of which the last one has no more than the first."""
    await fleet.add("acme", "globex", "hooli", "initech", "umbrella")
    (await fleet.up()).raise_for_failures()
    fleet.write("tenant/0002_more.sql", "CREATE TABLE more (id int); INSERT INTO more VALUES (1);")
    (await fleet.up(tenants=("acme", "globex", "hooli", "initech"))).raise_for_failures()
    return fleet


@pytest.fixture
async def dumped(migrated: Fleet, server_url: str) -> AsyncIterator[Fleet]:
    """The same fleet after pg_dump and psql."""
    original = urlsplit(migrated.dsn).path.strip("/")
    name = f"restored_{original}"
    major = int((await migrated.fetch("SHOW server_version_num"))[0][0]) // 10000
    owner = (await migrated.fetch("SELECT current_user"))[0][0]
    conn = await asyncpg.connect(server_url)
    await conn.execute(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template0")
    try:
        dump = await _run(str(program("pg_dump", major)), "-d", at(server_url, database=original))
        await _run(
            *(str(program("psql", major)), "-X", "-q", "-v", "ON_ERROR_STOP=1"),
            *("-d", at(server_url, database=name)),
            text=dump,
        )
        yield replace(migrated, dsn=at(migrated.dsn, database=name))
    finally:
        await conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await conn.close()


async def _run(*command: str, text: bytes | None = None) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(text)
    assert process.returncode == 0, err.decode()
    return out


async def _shuffle(fleet: Fleet) -> None:
    """Let the ledger know each schema by the oid of another one, as a restore by chance does."""
    oids = [
        oid
        for (oid,) in await fleet.fetch(
            "SELECT schema_oid FROM tenancy.checkpoints WHERE stage = 'tenant' ORDER BY 1"
        )
    ]
    for table in ("migrations", "checkpoints"):
        pairs = zip(oids, [*oids[1:], oids[0]], strict=True)
        for old, new in pairs:
            await fleet.execute(
                f"UPDATE tenancy.{table} SET schema_oid = {new + 10_000_000} "
                f"WHERE schema_oid = {old}"
            )
        await fleet.execute(
            f"UPDATE tenancy.{table} SET schema_oid = (schema_oid::bigint - 10000000)::oid "
            "WHERE schema_oid::bigint > 10000000"
        )
        await fleet.execute(
            f"UPDATE tenancy.{table} SET schema_oid = 77777 WHERE schema_name = 'tenancy'"
        )


async def _assert_followed(fleet: Fleet) -> None:
    assert await fleet.versions() == {
        **dict.fromkeys(("acme", "globex", "hooli", "initech"), "0002"),
        "umbrella": "0001",
    }
    assert (await fleet.asked("verify")).code == 0
    report = await fleet.up()
    report.raise_for_failures()
    assert [(one.tenant, one.applied) for one in report.results] == [("umbrella", ("0002",))]
    for schema in ("t_acme", "t_umbrella"):
        assert await fleet.fetch(f"SELECT count(*) FROM {schema}.more") == [(1,)]


async def test_after_a_restore_nothing_runs_until_the_ledger_has_followed(dumped: Fleet) -> None:
    for command in ("up", "plan", "repair --forget-gone --yes"):
        refused = await dumped.command(*command.split())
        assert (refused.code, "repair --restored" in refused.err) == (6, True), command
    done = await dumped.asked("repair", "--restored", "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "6 schemas put right"
    await _assert_followed(dumped)
    again = await dumped.asked("repair", "--restored", "--yes")
    assert (again.code, again.out) == (0, "nothing to put right\n")


async def test_oids_that_were_other_tenants_are_taken_for_nobodys(migrated: Fleet) -> None:
    await _shuffle(migrated)
    assert (await migrated.command("up")).code == 6
    assert (await migrated.asked("repair", "--restored", "--yes")).code == 0
    await _assert_followed(migrated)


async def test_a_schema_of_another_day_is_named_and_not_believed(migrated: Fleet) -> None:
    await _shuffle(migrated)
    await migrated.execute("COMMENT ON SCHEMA t_hooli IS 'tenancy version=0001 digest=abc'")
    done = await migrated.asked("repair", "--restored", "--yes", "--json")
    told = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 6
    assert [one["schema"] for one in told if one.get("recognized") is False] == ["t_hooli"]
    assert (await migrated.versions())["hooli"] is None
    report = await migrated.up()
    assert {one.tenant: one.outcome for one in report.results}["hooli"] == "refused"
    assert await migrated.fetch("SELECT count(*) FROM t_hooli.more") == [(1,)]


async def test_it_asks_and_stands_alone(migrated: Fleet) -> None:
    await _shuffle(migrated)
    before = await migrated.fetch("SELECT schema_oid FROM tenancy.checkpoints ORDER BY 1")
    assert (await migrated.asked("repair", "--restored")).code == 2
    assert (await migrated.asked("repair", "--restored", "--forget-gone")).code == 2
    assert await migrated.fetch("SELECT schema_oid FROM tenancy.checkpoints ORDER BY 1") == before
