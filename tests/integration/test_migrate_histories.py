"""Histories in the manner of other tools, run as they are, beside what psql makes of them."""

import asyncio
import os
import re
from pathlib import Path

import pytest
from support.databases import Database, superuser
from support.fleets import Fleet

from tenancy.embedded.programs import program
from tenancy.errors import MigrationFileError
from tenancy.migrate import Outcome
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.shape.fingerprint import fingerprint

HISTORIES = Path(__file__).parents[1] / "fixtures" / "histories"
TOOLS = sorted(path.name for path in HISTORIES.iterdir())
SLUGS = ("acme", "globex", "initech")

# Where each tool's part that goes down begins, as crudely as it can be said.
_DOWN = re.compile(
    r"^(--\s*\+goose\s+Down|-- migrate:down|---- create above / drop below ----).*",
    re.MULTILINE | re.DOTALL,
)
_TABLES = """
    SELECT c.oid::regclass, c.relname FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY 2
"""


@pytest.fixture(params=TOOLS)
async def theirs(request: pytest.FixtureRequest, admin_dsn: str) -> Fleet:
    """Three tenants, and a history that another tool has written, untouched."""
    fleet = Fleet(admin_dsn, HISTORIES / request.param)
    (await fleet.up()).raise_for_failures()
    await fleet.add(*SLUGS)
    return fleet


async def _psql(fleet: Fleet, schema: str, *text: str) -> None:
    """Run *text* in *schema*, as psql cuts it."""
    async with fleet.connection() as conn:
        major = conn.get_server_version().major
    process = await asyncio.create_subprocess_exec(
        *(program("psql", major), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", fleet.dsn),
        env={**os.environ, "PGOPTIONS": f"-c search_path={schema}"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await process.communicate("\n;\n".join(text).encode())
    assert process.returncode == 0, complaint.decode()


def _ups(folder: Path) -> list[str]:
    """The texts that go up, by no rules but the names' and the down marker's.

    Each is a transaction, unless it looks as if it cannot be.
    """
    files = sorted(
        path
        for path in folder.glob("*.sql")
        if path.name[0].isdigit() and not path.name.endswith(".down.sql")
    )
    texts = [_DOWN.sub("", path.read_text(encoding="utf-8-sig")) for path in files]
    free = re.compile(r"\bCONCURRENTLY\b|^BEGIN;", re.MULTILINE | re.IGNORECASE)
    return [text if free.search(text) else f"BEGIN;\n{text}\n;COMMIT" for text in texts]


async def _shape(fleet: Fleet, schema: str) -> tuple[str, dict[str, int]]:
    """Return the fingerprint of *schema*, and how many rows each of its tables has."""
    async with fleet.connection() as conn:
        found = await checkpoints.schema(conn, schema)
        assert found is not None
        rows = {
            row["relname"]: await conn.fetchval(f"SELECT count(*) FROM {row[0]}")
            for row in await conn.fetch(_TABLES, schema)
        }
        return await fingerprint(conn, found), rows


async def test_a_history_makes_in_every_tenant_what_psql_makes_of_it(theirs: Fleet) -> None:
    report = await theirs.up(parallel=3)
    assert {(r.tenant, r.outcome) for r in report.results} == {
        (slug, Outcome.APPLIED) for slug in SLUGS
    }, [r.why for r in report.results]
    newest = theirs.files.tenant[-1].version
    assert await theirs.versions() == dict.fromkeys(SLUGS, newest)
    assert (await theirs.up()).results == ()
    await theirs.execute("CREATE SCHEMA t_psql")
    await _psql(theirs, "t_psql", *_ups(theirs.sql))
    shapes = [await _shape(theirs, f"t_{name}") for name in (*SLUGS, "psql")]
    assert shapes.count(shapes[0]) == len(shapes)
    assert shapes[0][1]
    assert await theirs.tables("public") == set()


async def test_the_ways_down_lead_back(theirs: Fleet) -> None:
    """Statement by statement, as far down as the history says how."""
    await theirs.up(tenants=["acme"])
    files = theirs.files.tenant
    gone = [m for m in reversed(files) if m.down is not None]
    if len(gone) < len(files):
        pytest.skip("not every file has a way down")
    async with theirs.connection() as conn:
        await conn.execute("SET search_path = t_acme, pg_temp")
        for migration in gone:
            assert migration.down is not None
            for statement in migration.down.source.statements:
                await conn.execute(statement.text)
    left = "SELECT relname FROM pg_class WHERE relnamespace = 't_acme'::regnamespace"
    assert await theirs.fetch(left) == []


# A dump


async def _dumped(fleet: Fleet) -> str:
    async with superuser(fleet.dsn) as conn:
        major = conn.get_server_version().major
    process = await asyncio.create_subprocess_exec(
        *(program("pg_dump", major), "--inserts", "--no-owner", "-d", fleet.dsn),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.mark.parametrize("tool", ["goose", "golang-migrate"])
async def test_a_dump_of_public_is_the_first_file_of_many_tenants(
    empty_database: Database, tmp_path: Path, tool: str
) -> None:
    origin = Fleet(empty_database.admin_url, HISTORIES / tool)
    async with superuser(empty_database.superuser_url) as conn:
        await conn.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    await _psql(origin, "public", *_ups(origin.sql))
    dump = await _dumped(origin)
    assert "CREATE TABLE public." in dump
    fleet = Fleet(origin.dsn, tmp_path / "sql", "public")
    fleet.sql.mkdir()
    fleet.write("tenant/0001_base.sql", dump)
    (await fleet.up()).raise_for_failures()
    await fleet.add(*SLUGS)
    report = await fleet.up(parallel=3)
    assert {r.outcome for r in report.results} == {Outcome.APPLIED}, [r.why for r in report.results]
    shapes = [await _shape(fleet, name) for name in ("public", "t_acme", "t_globex", "t_initech")]
    assert shapes[1:] == [shapes[1]] * 3
    assert shapes[1][1] == shapes[0][1]  # the rows; rights on public are its own


# Extensions


async def test_an_extension_of_the_shared_stage_is_every_tenants(
    empty_database: Database, fresh: Fleet
) -> None:
    async with superuser(empty_database.superuser_url) as conn:
        found = await conn.fetchval(
            "SELECT name FROM pg_available_extensions WHERE name IN ('pg_trgm', 'vector') LIMIT 1"
        )
        if found is None:
            pytest.skip("the server has neither pg_trgm nor vector")
        await conn.execute("CREATE SCHEMA shared; GRANT ALL ON SCHEMA shared TO PUBLIC")
        await conn.execute(f"CREATE EXTENSION {found} SCHEMA shared")  # one may not be trusted
    create = f'CREATE EXTENSION IF NOT EXISTS "{found}"'
    fresh.write("tenant/0002_search.sql", f"{create} WITH SCHEMA public;")
    with pytest.raises(MigrationFileError, match=re.escape(f"`{create};` into a file of shared/")):
        await fresh.up()
    fresh.write("shared/0001_extensions.sql", f"{create};")
    use = {
        "pg_trgm": "CREATE INDEX ON notes USING gin (body gin_trgm_ops)",
        "vector": "ALTER TABLE notes ADD meaning vector(3)",
    }[found]
    fresh.write(
        "tenant/0002_search.sql",
        f"{create} WITH SCHEMA public;\nCOMMENT ON EXTENSION {found} IS 'it';\n{use};",
    )
    (await fresh.up()).raise_for_failures()
    await fresh.add(*SLUGS)
    report = await fresh.up(parallel=3)
    assert {r.outcome for r in report.results} == {Outcome.APPLIED}, [r.why for r in report.results]
