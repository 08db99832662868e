"""ROLLOUT: the fleet is migrated while it is served, and no request fails; kill -9 included.

Short form: 30 tenants. Long form (--long): 500. The times are printed, not tested.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support import rollouts
from support.books import told
from support.clients import bodies
from support.databases import Database, Logins, drop_database, make_database
from support.traffic import Traffic

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
async def blank(server_url: str, logins: Logins) -> AsyncIterator[Database]:
    database = await make_database(server_url, logins)
    yield database
    await drop_database(server_url, database)


async def test_no_request_fails_while_the_fleet_is_migrated(
    blank: Database, tmp_path: Path, seed: int, long: bool
) -> None:
    tenants = 500 if long else 30
    slugs = [f"tenant-{number}" for number in range(1, tenants + 1)]
    settings = await rollouts.settle(blank, tmp_path, tenants, notes=200)
    rollout, traffic = await rollouts.rolled_out(
        settings,
        lambda port: Traffic(port, slugs, 100, seed),
        20 if long else 3,
        *("--parallel", "2"),
        killed_at=tenants * 2,  # of five files each
    )
    assert rollout.result.code == 0, rollout.result
    found = [body for body in await bodies(blank, *slugs) if body.partition(":")[2].isdigit()]
    told(
        "ROLLOUT",
        {
            "quiet": dict(rollout.quiet.statuses),
            "during": dict(rollout.during.statuses),
            "p99 quiet ms": round(rollout.quiet.percentile(0.99), 1),
            "p99 during ms": round(rollout.during.percentile(0.99), 1),
            "load average": os.getloadavg()[0],
        },
    )
    assert rollout.during.failed == []
    assert rollout.during.statuses[201]
    assert traffic.books.audit(found) == {"lost": 0, "doubled": 0, "unaccounted": 0}
