"""One schema's step against psql doing the same with the same number of workers. See README.md."""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import asyncpg
from pydantic import SecretStr
from support.databases import Database, make_database, make_logins
from support.servers import server

from tenancy.migrate import Files, load, migrate
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.upgrade.runner import Upgrade
from tenancy.migrate.upgrade.session import Session
from tenancy.settings import Settings

PSQL = shutil.which("psql") or "/usr/lib/postgresql/15/bin/psql"

ONE = {
    "0001_notes": "CREATE TABLE notes (id bigint PRIMARY KEY, body text NOT NULL);",
    "0002_pinned": "ALTER TABLE notes ADD pinned boolean NOT NULL DEFAULT false;",
    "0003_seed": "INSERT INTO notes (id, body) VALUES (1, 'one'), (2, 'two');",
}
MANY = {
    **ONE,
    "0004_tags": "CREATE TABLE tags (id bigint PRIMARY KEY, name text UNIQUE);\n"
    "CREATE TABLE note_tags (note bigint REFERENCES notes, tag bigint REFERENCES tags,\n"
    "    PRIMARY KEY (note, tag));\nCREATE INDEX ON note_tags (tag);",
    "0005_touch": "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$\n"
    "BEGIN NEW.body := trim(NEW.body); RETURN NEW; END $$;\n"
    "CREATE TRIGGER touch BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION touch();",
    "0006_view": "CREATE VIEW pinned AS SELECT id, body FROM notes WHERE pinned;",
    "0007_type": "CREATE TYPE mood AS ENUM ('good', 'bad');\nALTER TABLE notes ADD mood mood;",
    "0008_fix": "UPDATE notes SET body = body || '!';",
    "0009_index": "CREATE INDEX notes_body ON notes (body);",
    "0010_check": "ALTER TABLE notes ADD CONSTRAINT short CHECK (length(body) < 1000);",
}


async def psql(database: Database, folder: Path, schemas: list[str], workers: int) -> float:
    """Return the seconds that *workers* sessions of psql take, each fed by a loop of a shell."""
    files = sorted((folder / "tenant").iterdir())
    env = {**os.environ, "PSQLRC": "/dev/null"}
    started = time.perf_counter()
    shells = [
        await asyncio.create_subprocess_exec(
            "sh", "-c",
            f"for schema in {' '.join(schemas[n::workers])}; do for file in "
            f"{' '.join(map(str, files))}; do echo 'BEGIN; SET LOCAL search_path = '$schema', "
            f"shared;'; echo \"\\\\i $file\"; echo 'COMMIT;'; done; done | "
            f"{PSQL} -qAtX -v ON_ERROR_STOP=1 '{database.admin_url}'",
            env=env, stdout=subprocess.DEVNULL,
        )
        for n in range(workers)
    ]  # fmt: skip
    assert [await shell.wait() for shell in shells] == [0] * workers
    return time.perf_counter() - started


async def ours(settings: Settings, files: Files, names: list[str], workers: int) -> float:
    """Return the seconds that *workers* sessions of the migrator take."""
    async with Session(settings) as session:
        conn = await session.connection()
        rows = await conn.fetch(
            "SELECT oid, nspname FROM pg_namespace WHERE nspname = ANY ($1)", names
        )
        run_id = await conn.fetchval(
            "INSERT INTO tenancy.runs (host, process_id) VALUES ('', 0) RETURNING id"
        )
    queue = deque(SchemaRef(oid, name) for oid, name in rows)

    async def worker() -> None:
        async with Session(settings) as session:
            while queue:
                await Upgrade(session, queue.popleft(), files.tenant, run_id, shared="shared").run()
                await session.recycle()

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(workers)))
    return time.perf_counter() - started


async def main(tenants: int, rounds: int, workers: list[int]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tenancy-benchmark-sql-"))
    folder.chmod(0o755)
    with server() as url:
        logins = await make_logins(url)
        for what, texts in {"3 small files": ONE, "10 mixed files": MANY}.items():
            database = await make_database(url, logins)
            shutil.rmtree(folder / "tenant", ignore_errors=True)
            (folder / "tenant").mkdir()
            settings = Settings(database_url=SecretStr(database.admin_url), sql_dir=folder)
            (await migrate(settings)).raise_for_failures()
            for name, text in texts.items():
                (folder / "tenant" / f"{name}.sql").write_text(text + "\n")
            files = load(settings)
            for count in workers:
                await compare(database, settings, files, what, tenants, rounds, count)
    shutil.rmtree(folder)


async def compare(  # noqa: PLR0913, PLR0917
    database: Database, settings: Settings, files: Files, what: str,
    tenants: int, rounds: int, workers: int,
) -> None:  # fmt: skip
    ratios, steps = [], []
    assert settings.sql_dir
    for number in range(rounds):
        mine = await made(database, f"o{workers}_{number}", tenants)
        theirs = await made(database, f"p{workers}_{number}", tenants)
        order = [True, False] if number % 2 else [False, True]
        taken = {}
        for own in order:
            taken[own] = (
                await ours(settings, files, mine, workers)
                if own
                else await psql(database, settings.sql_dir, theirs, workers)
            )
        ratios.append(taken[False] / taken[True])
        steps.append((taken[True] / tenants, taken[False] / tenants))
    ms = [statistics.median(column) * 1000 for column in zip(*steps, strict=True)]
    print(
        f"{what}, {workers} workers: {ms[0]:.2f} ms a schema, psql {ms[1]:.2f} ms: "
        f"{statistics.median(ratios):.2f} of psql's speed",
        flush=True,
    )


async def made(database: Database, prefix: str, tenants: int) -> list[str]:
    names = [f"t_{prefix}_{n}" for n in range(tenants)]
    conn = await asyncpg.connect(database.admin_url)
    await conn.executemany(
        "INSERT INTO tenancy.tenants (slug, schema_name, state) VALUES ($1, $2, 'active')",
        [("x-" + name[2:].replace("_", "-"), name) for name in names],
    )
    for name in names:
        await conn.execute(f"CREATE SCHEMA {name}")
    await conn.close()
    return names


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 4, 8])
    arguments = parser.parse_args()
    asyncio.run(main(arguments.tenants, arguments.rounds, arguments.workers))
