"""LIVES: 50 tenants are made, changed, deleted and purged by 8 operators at once, by chance.

Some steps are taken twice at the same moment, some are cut off in the middle; two workers of
hypercorn serve all tenants meanwhile. At the end registry, schemas, roles, ledger, audit and notes
are what operators and visitors were told, and every request to a tenant about which nobody was
taking a step was answered right. A report reads all of them, and in the middle of it a file is
applied to them. Short form: 300 steps. Long form (--long): 1,000.
"""

import asyncio
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support import careers
from support.books import told
from support.careers import Visitors, World
from support.databases import SQL, Database, superuser
from support.lives import logins
from support.operators import Operators
from support.processes import environment, hypercorn

from tenancy import Settings, doctor, migrate, provision
from tenancy.doctor import Level

pytestmark = pytest.mark.timeout(1800)

TENANTS, OPERATORS, VISITORS = 40, 8, 4
FILE = "ALTER TABLE notes ADD COLUMN pinned boolean NOT NULL DEFAULT false;"
SUPPORT = str(Path(__file__).parents[1])
NOTHING = {"lost": 0, "doubled": 0, "unaccounted": 0}
LEDGER = ("migrations", "checkpoints", "steps", "backfills", "failures", "reversals")


async def test_all_agree_after_a_thousand_steps(
    database: Database, tmp_path: Path, seed: int, long: bool
) -> None:
    shutil.copytree(SQL, tmp_path / "sql")
    settings = database.settings(sql_dir=tmp_path / "sql")
    env = environment(settings, PYTHONPATH=SUPPORT)
    serving = ("--workers", str(careers.WORKERS), "support.lives_app:create()")
    async with superuser(database.superuser_url) as conn, _reader(conn) as reader:
        async with provision.administrator(settings) as admin:
            await admin.create_report("everything", "notes", reader=reader)
        roles = await _names(conn, _ROLES, logins(database)[1])
        schemas = await _names(conn, _SCHEMAS)
        audit = await _audit(conn)
        async with hypercorn(*serving, env=env) as server:
            world = World(server.port)
            visitors = [Visitors(world, seed + number) for number in range(VISITORS)]
            visiting = [asyncio.create_task(visitor.run()) for visitor in visitors]
            operators = Operators(world, settings, seed, 1000 if long else 300)
            await operators.populate(TENANTS)
            async with asyncio.TaskGroup() as group:
                group.create_task(operators.run(OPERATORS))
                group.create_task(_migrated(world, settings, operators))
            (await migrate.migrate(settings)).raise_for_failures()
            for visitor in visitors:
                visitor.stop()
            await asyncio.gather(*visiting)
        told("LIVES", dict(sorted(world.counts.items())))
        assert not world.faults, "\n".join(world.faults[:10])
        assert await _registry(conn) == _expected(world)
        alive = {life.schema for life in world.slugs.values()}
        assert await _names(conn, _SCHEMAS) - schemas == alive
        assert await _names(conn, _ROLES, logins(database)[1]) - roles == alive
        for table in LEDGER:
            known = await _names(conn, f"SELECT schema_name FROM tenancy.{table}") - schemas
            assert known == alive if table in ("migrations", "checkpoints") else not known, table
        newest = await _names(
            conn, "SELECT schema_name FROM tenancy.checkpoints WHERE version = '0002'"
        )
        assert {one.schema for one in world.slugs.values() if one.state != "deleting"} <= newest
        _compare_audit(world, await _audit(conn) - audit)
        async with provision.administrator(settings) as admin:
            await admin.refresh_reports()
        for life in world.slugs.values():
            reported = await _names(conn, _REPORTED, life.slug)
            assert life.books.audit(reported) == NOTHING or life.state == "deleting"
            if not life.begun:  # of one whose purge was cut off nothing need be left
                found = await _names(conn, f'SELECT body FROM "{life.schema}".notes')
                assert life.books.audit(found) == NOTHING
        faults = [one for one in await doctor.diagnose(settings) if one.level is Level.FAULT]
        assert not faults
        await operators.bury()
        assert await _names(conn, _SCHEMAS) == schemas
        assert await _names(conn, _ROLES, logins(database)[1]) == roles
        dead = [life.schema for life in world.ever]
        assert not await conn.fetch("SELECT FROM pg_roles WHERE rolname = ANY ($1)", dead)


async def _migrated(world: World, settings: Settings, operators: Operators) -> None:
    """Apply a file to all tenants, once half of the steps are taken."""
    await operators.half.wait()
    assert settings.sql_dir is not None
    (settings.sql_dir / "tenant" / "0002_pinned.sql").write_text(FILE)
    report = await migrate.migrate(settings)
    world.counts.update(f"migration: {result.outcome}" for result in report.results)
    print(*(result.why for result in report.results if result.why), sep="\n")


_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'"


_ROLES = (
    "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid "
    "JOIN pg_roles l ON l.oid = m.member WHERE l.rolname = $1"
)
_REPORTED = "SELECT body FROM tenancy_reports.everything WHERE tenant = $1"


@asynccontextmanager
async def _reader(conn: asyncpg.Connection) -> AsyncIterator[str]:
    """A role of the test's own."""
    name = f"test_reader_{secrets.token_hex(4)}"
    await conn.execute(f"CREATE ROLE {name}")
    yield name
    await conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def _names(conn: asyncpg.Connection, query: str, *args: str) -> set[str]:
    return {row[0] for row in await conn.fetch(query, *args)}


async def _registry(conn: asyncpg.Connection) -> dict[str, Any]:
    rows = await conn.fetch(
        "SELECT slug, t.id::text, schema_name, state, "
        "array_agg(name ORDER BY name) FILTER (WHERE name IS NOT NULL) AS domains, "
        "min(name) FILTER (WHERE is_primary) AS primary "
        "FROM tenancy.tenants t LEFT JOIN tenancy.domains d ON tenant_id = t.id "
        "WHERE slug LIKE 'life-%' GROUP BY t.id"
    )
    return {
        slug: (tenant, schema, state, domains or [], primary)
        for slug, tenant, schema, state, domains, primary in rows
    }


def _expected(world: World) -> dict[str, Any]:
    return {
        slug: (life.id, life.schema, life.state, sorted(life.domains), life.primary)
        for slug, life in world.slugs.items()
    }


async def _audit(conn: asyncpg.Connection) -> Counter[tuple[str, str]]:
    rows = await conn.fetch("SELECT action, outcome, count(*) FROM tenancy.audit GROUP BY 1, 2")
    return Counter({(action, outcome): count for action, outcome, count in rows})


def _compare_audit(world: World, found: Counter[tuple[str, str]]) -> None:
    """Each step is there once, with what it came to; more only where a connection was lost."""
    for row in {*found, *world.audit}:
        most = world.audit[row] + world.loose[row]
        assert world.audit[row] <= found[row] <= most, (row, found[row], world.audit[row])
