"""The README's example with a queue, as written: a web process and a worker that is killed."""

import asyncio
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from support.databases import PASSWORD, Database, at, superuser
from support.processes import Served, environment, http, hypercorn, run

from tenancy import provision

README = (Path(__file__).parents[2] / "README.md").read_text()
SLUGS = ("acme", "globex")


@pytest.fixture
async def jobs_url(database: Database) -> AsyncIterator[str]:
    """The address of a queue with a login and a schema of its own; and the tenants' tables."""
    login = f"test_jobs_{secrets.token_hex(4)}"
    async with superuser(database.superuser_url) as conn:
        await conn.execute(
            f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}'; "
            f"GRANT CONNECT ON DATABASE {database.name} TO {login}; "
            f"CREATE SCHEMA jobs AUTHORIZATION {login}"
        )
    await _in_each_tenant(
        database, "CREATE TABLE done (job text PRIMARY KEY); CREATE TABLE outbox (note_id bigint)"
    )
    async with provision.administrator(database.settings()) as admin:
        await admin.grant()
    yield at(database.superuser_url, user=login)
    async with superuser(database.superuser_url) as conn:
        await conn.execute(f"DROP OWNED BY {login} CASCADE; DROP ROLE {login}")


async def _in_each_tenant(database: Database, sql: str) -> dict[str, list[str]]:
    conn = await asyncpg.connect(database.admin_url)
    try:
        found = {}
        for row in await conn.fetch("SELECT slug, schema_name FROM tenancy.tenants"):
            await conn.execute(f'SET search_path = "{row["schema_name"]}"')
            if sql.startswith("SELECT"):
                found[row["slug"]] = [str(each[0]) for each in await conn.fetch(sql)]
            else:
                await conn.execute(sql)
        return found
    finally:
        await conn.close()


@asynccontextmanager
async def _worker(env: dict[str, str], cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "example.py", env=env, cwd=cwd, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _until_signed(database: Database, notes: int) -> dict[str, list[str]]:
    async with asyncio.timeout(30):
        while True:
            bodies = await _in_each_tenant(database, "SELECT body FROM notes ORDER BY id")
            if all(len(b) == notes and all("signed" in x for x in b) for b in bodies.values()):
                return bodies
            await asyncio.sleep(0.05)


async def _until(conn: asyncpg.Connection, condition: str) -> None:
    async with asyncio.timeout(40):
        while not await conn.fetchval(f"SELECT 1 FROM jobs.procrastinate_jobs WHERE {condition}"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _post(server: Served, path: str, slug: str, body: str) -> None:
    host = f"{slug}.example.com"
    assert (await http(server.port, "POST", path, host, {"body": body}))[0] == 201


async def test_the_example_with_a_queue_runs_as_written(
    database: Database, jobs_url: str, tmp_path: Path
) -> None:
    example, outbox = (
        b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "jobs." in b
    )
    main = example.index("if __name__")
    (tmp_path / "example.py").write_text(example[:main] + outbox + "\n" + example[main:])
    env = environment(database.settings(), JOBS_DATABASE_URL=jobs_url)
    applied = await run(
        "-m", "procrastinate", "--app=example.jobs", "schema", "--apply", env=env, cwd=tmp_path
    )
    assert applied.code == 0, applied.err
    async with hypercorn("example:app", env=env, cwd=tmp_path, ready="/notes") as server:
        for path in ("/notes", "/promises"):
            for slug in SLUGS:
                await _post(server, path, slug, f"{path} of {slug}")
        async with _worker(env, tmp_path) as worker:
            await _until_signed(database, 2)
            worker.kill()  # some of its jobs may not know that they are done
        async with superuser(database.superuser_url) as conn:
            # Delivered again, all of them: as after a crash. And those of a suspended tenant wait.
            await conn.execute("UPDATE tenancy.tenants SET state = 'suspended' WHERE slug = 'acme'")
            await conn.execute(
                "SET search_path = jobs; UPDATE procrastinate_jobs SET status = 'todo'"
            )
            async with _worker(env, tmp_path) as worker:
                await _until(conn, "attempts > 1 AND status = 'todo' AND scheduled_at IS NOT NULL")
                await conn.execute("UPDATE tenancy.tenants SET state = 'active'")
                for slug in SLUGS:
                    await _post(server, "/promises", slug, f"last of {slug}")
                bodies = await _until_signed(database, 3)
                await _until(conn, "true HAVING bool_and(status = 'succeeded')")
                worker.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(worker.wait(), 20) == 0
    assert bodies == {
        slug: [f"{text} of {slug} (signed)" for text in ("/notes", "/promises", "last")]
        for slug in SLUGS
    }
    assert await _in_each_tenant(database, "SELECT note_id FROM outbox") == {s: [] for s in SLUGS}
