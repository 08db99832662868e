"""Behind PgBouncer in transaction mode: what is refused, and the isolation tests through it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from support import poolers
from support.databases import Database, Logins, drop_database, make_database, superuser
from support.notes import PRISTINE, memory

from tenancy import Settings, Tenancy, doctor, migrate
from tenancy.doctor import Finding, Level
from tenancy.errors import DatabaseSetupError, SettingsError

pytestmark = pytest.mark.skipif(poolers.binary() is None, reason=poolers.ABSENT)

ROOT = Path(__file__).parents[2]
IGNORING = {
    "tcp_keepcnt": "3\nignore_startup_parameters = search_path, synchronous_commit,"
    " statement_timeout, idle_in_transaction_session_timeout, client_connection_check_interval"
}
POISONS, HANDLERS = "tests/isolation/test_poison.py", "tests/isolation/test_handler.py"
OWN_COMMIT = "own and commit"  # out of the gate's reach there: the pooler's reset forgets


@pytest.fixture(scope="module")
def address(scratch: Path, server_url: str, logins: Logins) -> Iterator[str]:
    with poolers.pgbouncer(scratch / "pooler", server_url, logins) as address:
        yield address


@pytest.fixture
async def direct(server_url: str, logins: Logins, template: Database) -> AsyncIterator[Database]:
    """A database of this test's own, whatever the others are behind."""
    database = await make_database(server_url, logins, template.name)
    yield database
    await drop_database(server_url, database)


@pytest.fixture
async def pooled(direct: Database, address: str, server_url: str, logins: Logins) -> Database:
    database = poolers.behind(direct, address)
    await poolers.give_defaults(server_url, database, logins.app)
    return database


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "short", "full"),
    [
        (
            "shipped",
            [POISONS, HANDLERS, "-k", f"(not poison or {OWN_COMMIT}) and not schema"],
            ["tests/isolation", "--long"],
        ),
        (
            "lax",
            [POISONS, "-k", f"not ({OWN_COMMIT}) and raises and not schema and not strict"],
            [POISONS, HANDLERS, "-k", f"not ({OWN_COMMIT})"],
        ),
    ],
    ids=["shipped", "lax"],
)
async def test_the_isolation_tests_pass_through_it(
    server_url: str, long: bool, kind: str, short: list[str], full: list[str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider"),
        f"--pgbouncer={kind}",
        *(full if long else short),
        cwd=ROOT,
        env={**os.environ, "TENANCY_TEST_DATABASE_URL": server_url, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    assert b"skipped" not in out
    print(out.decode().splitlines()[-1])


async def test_a_pooler_that_nobody_told_us_of_is_refused(pooled: Database) -> None:
    with pytest.raises(DatabaseSetupError, match="TENANCY_POOLER=transaction"):
        await Tenancy(settings=pooled.settings(pooler="none")).start()


async def test_a_pooler_that_ignores_our_settings_is_refused_too(
    scratch: Path, direct: Database, server_url: str, logins: Logins
) -> None:
    with poolers.pgbouncer(scratch / "ignoring", server_url, logins, **IGNORING) as address:
        database = poolers.behind(direct, address)
        with pytest.raises(DatabaseSetupError, match="TENANCY_POOLER=transaction"):
            await Tenancy(settings=database.settings(pooler="none")).start()


async def test_a_login_without_defaults_of_its_own_is_refused(
    direct: Database, address: str
) -> None:
    settings = poolers.behind(direct, address).settings()
    with pytest.raises(DatabaseSetupError, match=r"search_path.*tenancy doctor"):
        await Tenancy(settings=settings).start()


async def test_timeouts_that_the_login_has_not_are_warned_of(
    pooled: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with Tenancy(settings=pooled.settings(statement_timeout_seconds=7)):
        assert "statement_timeout: run `python -m tenancy doctor`" in caplog.text


async def test_a_pooler_that_hands_sessions_on_as_they_are_is_refused(
    scratch: Path, direct: Database, server_url: str, logins: Logins
) -> None:
    values = {"server_reset_query_always": 0}
    with poolers.pgbouncer(scratch / "lax", server_url, logins, **values) as address:
        database = poolers.behind(direct, address)
        await poolers.give_defaults(server_url, database, logins.app)
        with pytest.raises(DatabaseSetupError, match="server_reset_query_always"):
            await Tenancy(settings=database.settings()).start()


async def test_migrations_do_not_go_through_it(pooled: Database) -> None:
    with pytest.raises(SettingsError, match="past the pooler"):
        await migrate.migrate(pooled.settings(admin_database_url=None))
    with pytest.raises(DatabaseSetupError, match="an address of PostgreSQL itself"):
        await migrate.migrate(pooled.settings(admin_database_url=pooled.app_url))


async def test_a_client_that_vanishes_leaves_nothing_in_the_server(pooled: Database) -> None:
    async with Tenancy(settings=pooled.settings()) as tenancy:
        for n in range(poolers.POOL_SIZE):
            conn = await asyncpg.connect(pooled.app_url, statement_cache_size=0)
            await conn.execute(
                "BEGIN; SET work_mem = '64kB'; LISTEN channel; SELECT pg_advisory_lock(42)"
            )
            if n:
                await conn.execute("SET search_path = public")
            conn.terminate()
        assert await memory(tenancy) == PRISTINE


async def test_no_setting_of_a_pooler_is_needed_where_none_is(
    direct: Database, caplog: pytest.LogCaptureFixture, server_url: str, logins: Logins
) -> None:
    await poolers.give_defaults(server_url, direct, logins.app)
    async with Tenancy(settings=direct.settings(pooler="transaction")):
        assert "no pooler is there" in caplog.text


async def _findings(settings: Settings) -> dict[str, Finding]:
    return {f.id: f for f in await doctor.diagnose(settings) if f.level is not Level.OK}


async def test_the_doctor_cures_a_login_without_defaults(
    direct: Database, scratch: Path, server_url: str, logins: Logins
) -> None:
    with poolers.pgbouncer(scratch / "ward", server_url, logins) as address:
        found = await _findings(poolers.behind(direct, address).settings())
    assert set(found) == {"pooler_defaults", "pooler_watch"}
    assert found["pooler_defaults"].level is Level.FAULT
    async with superuser(direct.superuser_url) as conn:
        for finding in found.values():
            for cure in finding.cures:
                await conn.execute(cure)
    with poolers.pgbouncer(scratch / "ward", server_url, logins) as address:
        settings = poolers.behind(direct, address).settings()
        assert await _findings(settings) == {}
        async with Tenancy(settings=settings) as tenancy, tenancy.transaction("acme") as conn:
            assert await conn.fetchval("SHOW statement_timeout") == "30s"


async def test_the_doctor_cures_a_pooler_that_hands_sessions_on(
    direct: Database, scratch: Path, server_url: str, logins: Logins
) -> None:
    await poolers.give_defaults(server_url, poolers.behind(direct, ""), logins.app)
    values: dict[str, object] = {"server_reset_query": "", "server_reset_query_always": 0}
    with poolers.pgbouncer(scratch / "ward", server_url, logins, **values) as address:
        found = await _findings(poolers.behind(direct, address).settings())
    assert found["pooler_reset"].level is Level.FAULT
    for cure in found["pooler_reset"].cures:
        key, _, value = cure.partition(" = ")
        values[key] = value
    with poolers.pgbouncer(scratch / "ward", server_url, logins, **values) as address:
        assert "pooler_reset" not in await _findings(poolers.behind(direct, address).settings())


async def test_the_doctor_sees_a_pooler_that_nobody_told_of(
    direct: Database, scratch: Path, server_url: str, logins: Logins
) -> None:
    await poolers.give_defaults(server_url, direct, logins.app)
    with poolers.pgbouncer(scratch / "ward", server_url, logins, **IGNORING) as address:
        settings = poolers.behind(direct, address).settings(pooler="none")
        found = await _findings(settings)
        assert found["pooler"].level is Level.FAULT
        name, _, value = found["pooler"].cures[0].partition("=")
        assert name == "TENANCY_POOLER"
        assert "pooler" not in await _findings(settings.model_copy(update={"pooler": value}))
    found = await _findings(direct.settings(pooler="transaction"))
    assert found["pooler"].level is Level.WARNING
    assert found["pooler"].cures == ("TENANCY_POOLER=none",)
