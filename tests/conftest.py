"""A real server for every test: the embedded one, or the one of TENANCY_TEST_DATABASE_URL.

The URL, where it is set, is a superuser's: the tests make and drop databases and logins.
"""

import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from support import poolers
from support.databases import (
    Database,
    Logins,
    Open,
    drop_database,
    drop_logins,
    make_database,
    make_logins,
    raise_walls,
)
from support.servers import server

from tenancy import Isolation, Tenancy, migrate, provision
from tenancy.pool import pooler

# No test is about time: this machine may be anybody's.
hypothesis_settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the torture tests in their long form")
    parser.addoption(
        "--pgbouncer",
        choices=["shipped", "lax"],
        nargs="?",
        const="shipped",
        help="send the requests of all tests through PgBouncer; lax: one that resets nothing, so "
        "that the gate alone forgets",
    )
    parser.addoption("--seed", type=int, help="run the torture tests with this seed again")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the torture tests run in their long form."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What chance begins with: new each time, or that of --seed; printed when the test fails."""
    given = request.config.getoption("--seed")
    seed = random.randrange(2**32) if given is None else int(given)
    print(f"to run it again alone: pytest '{request.node.nodeid}' --seed {seed}")
    return seed


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """No setting of the machine reaches a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("TENANCY_") and not name.startswith("TENANCY_TEST_"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory that the account a root's server runs as can reach."""
    path = Path(tempfile.mkdtemp(prefix="tenancy-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A superuser's address."""
    with server() as url:
        yield url


@pytest.fixture(scope="session")
async def logins(server_url: str) -> AsyncIterator[Logins]:
    """The owner of schemas, and the login of requests."""
    logins = await make_logins(server_url)
    yield logins
    await drop_logins(server_url, logins)


@pytest.fixture(scope="session")
async def template(server_url: str, logins: Logins) -> AsyncIterator[Database]:
    """A migrated database with the tenants acme and globex, for others to be copied from."""
    database = await make_database(server_url, logins)
    settings = database.settings()
    report = await migrate.migrate(settings)
    report.raise_for_failures()
    async with provision.administrator(settings) as admin:
        for slug in ("acme", "globex"):
            await admin.create(slug)
    yield database
    await drop_database(server_url, database)


@pytest.fixture
async def empty_database(server_url: str, logins: Logins) -> AsyncIterator[Database]:
    """A database with nothing in it, owned by a login that is no superuser."""
    database = await make_database(server_url, logins)
    yield database
    await drop_database(server_url, database)


@pytest.fixture
async def admin_dsn(empty_database: Database) -> str:
    """The owner's address of an empty database."""
    return empty_database.admin_url


@pytest.fixture(scope="session")
def pooler_address(
    request: pytest.FixtureRequest, scratch: Path, server_url: str, logins: Logins
) -> Iterator[str | None]:
    """Host and port of a PgBouncer, where the tests are to go through one."""
    kind = request.config.getoption("--pgbouncer")
    if not kind:
        yield None
        return
    if poolers.binary() is None:
        pytest.skip(poolers.ABSENT)
    values = {"server_reset_query_always": 0} if kind == "lax" else {}
    with pytest.MonkeyPatch.context() as patch:
        if kind == "lax":  # the start would refuse it
            patch.setattr(pooler, "keeps_state", _untold)
        with poolers.pgbouncer(scratch / "pgbouncer", server_url, logins, **values) as address:
            yield address


async def _untold(*_: object) -> None:
    return None


@pytest.fixture
async def database(
    server_url: str, logins: Logins, template: Database, pooler_address: str | None
) -> AsyncIterator[Database]:
    """A database of this test's own, with the tenants acme and globex and no note."""
    database = await make_database(server_url, logins, template.name)
    if pooler_address:
        database = poolers.behind(database, pooler_address)
        await poolers.give_defaults(server_url, database, logins.app)
    yield database
    await drop_database(server_url, database)


@pytest.fixture
def open_tenancy(database: Database, server_url: str, logins: Logins) -> Open:
    """Make a started Tenancy with settings of the test's own, on the test's own database."""

    @asynccontextmanager
    async def opened(**overrides: object) -> AsyncIterator[Tenancy]:
        settings = database.settings(**overrides)
        if database.pooled:
            await poolers.give_defaults(server_url, database, logins.app, settings)
        if "isolation" in overrides:
            async with provision.administrator(settings) as admin:
                await admin.grant()
            if settings.isolation is Isolation.STRICT:
                await raise_walls(database)
        async with Tenancy(settings=settings) as tenancy:
            yield tenancy

    return opened


@pytest.fixture
async def tenancy(open_tenancy: Open) -> AsyncIterator[Tenancy]:
    """A started Tenancy whose tenants take turns on one connection."""
    async with open_tenancy(pool_max_size=1) as tenancy:
        yield tenancy
