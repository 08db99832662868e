"""MIGRATE: kill -9 of the migrator and of its back ends at random moments, and two runs at once.

What is in each schema is compared, file by file, with what the ledger says, after each kill.

Short form: 3 rounds with 12 tenants and 13 files. Long form (--long): 100 with 200 and 30, and 50
races of two runs.
"""

import asyncio
import os
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support import crowds
from support.books import told
from support.chaos import Chaos
from support.databases import Database, Logins, drop_database, make_database, make_logins
from support.fleets import Fleet
from support.ordeal import Ordeal, ordeal

from tenancy import embedded, migrate

pytestmark = pytest.mark.timeout(6 * 3600)

SHORT = ordeal(13, {4: "index", 7: "backfill", 9: "value", 12: "vacuum"})
LONG = ordeal(30, {6: "backfill", 10: "index", 18: "value", 21: "backfill", 27: "vacuum"})
OWN_SERVER = "TENANCY_TEST_DATABASE_URL" not in os.environ


@pytest.fixture(scope="module")
def chaos_url(scratch: Path, server_url: str) -> Iterator[str]:
    """A server that may be crashed, where it is ours."""
    if not OWN_SERVER:
        yield server_url
        return
    server = embedded.start(scratch / "chaos", options={"max_connections": "50"})
    yield server.url("postgres", "postgres")
    server.stop()
    shutil.rmtree(scratch / "chaos", ignore_errors=True)


@pytest.fixture(scope="module")
async def field(
    chaos_url: str, tmp_path_factory: pytest.TempPathFactory, long: bool
) -> AsyncIterator["Field"]:
    logins = await make_logins(chaos_url)
    template = await make_database(chaos_url, logins)
    field = Field(chaos_url, logins, template, tmp_path_factory.mktemp("chaos"), long)
    field.files.write(field.folder / "sql")
    (field.folder / "before" / "tenant").mkdir(parents=True)
    settings = template.settings(sql_dir=field.folder / "before")
    (await migrate.migrate(settings)).raise_for_failures()
    await crowds.make(template, field.tenants)
    yield field
    await drop_database(chaos_url, template)


class Field:
    """Where rounds are fought: each on a copy of a database whose tenants have empty schemas."""

    def __init__(
        self, url: str, logins: Logins, template: Database, folder: Path, long: bool
    ) -> None:
        self.url, self.logins, self.template, self.folder = url, logins, template, folder
        self.tenants = 200 if long else 12
        self.files: Ordeal = LONG if long else SHORT

    @asynccontextmanager
    async def round(self, rng: random.Random) -> AsyncIterator[Chaos]:
        database = await make_database(self.url, self.logins, self.template.name)
        fleet = Fleet(database.admin_url, self.folder / "sql")
        try:
            yield Chaos(fleet, database, self.files, self.tenants, rng, crashes=OWN_SERVER)
        finally:
            await drop_database(self.url, database)


async def test_killed_at_any_moment_nothing_is_half_applied_and_nothing_twice(
    field: Field, seed: int, long: bool
) -> None:
    sums: Counter[str] = Counter()
    for number in range(100 if long else 3):
        async with field.round(random.Random(f"{seed} {number}")) as chaos:
            for _ in range(4 if long else 3):
                await chaos.life()
                assert not any((await chaos.audit()).values()), (number, await chaos.audit())
            done = await chaos.fleet.command("up", "--json", "--parallel", "4")
            assert done.code == 0, (number, done.out, done.err)
            assert not any((await chaos.audit()).values()), (number, await chaos.audit())
            assert await chaos.complete() == field.tenants
            sums += chaos.counts
    told("MIGRATE", {**sums, "seed": seed})
    assert sums["runners killed"]
    assert sums["back ends ended"] + sums["servers crashed"]
    assert not sums["told twice"]


@pytest.mark.parametrize("options", [(), ("--join",)], ids=["alone", "joined"])
async def test_two_runs_started_together_apply_each_file_once(
    field: Field, seed: int, long: bool, options: tuple[str, ...]
) -> None:
    sums: Counter[str] = Counter()
    for number in range(50 if long else 2):
        async with field.round(random.Random(f"{seed} {number}")) as chaos:
            runs = [await chaos.start(*options) for _ in range(2)]
            await asyncio.gather(*runs)
            assert not any((await chaos.audit()).values()), (number, await chaos.audit())
            assert await chaos.complete() == field.tenants
            assert len(chaos.books.acknowledged) == field.tenants * len(field.files.files)
            sums += chaos.counts
    told("two runs", {**sums, "seed": seed})
    assert set(sums) <= {"exit 0", "exit 75", "told twice"}
    assert not sums["told twice"]
