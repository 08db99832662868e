"""STORM: G1, G3, G4, G7 by chance: tenants, cancellations, hostile views and dying back ends.

Short form: 50,000 requests over 50 tenants. Long form (--long): a million over 500.
"""

import logging
import time
from collections import Counter

import pytest
from support.books import Books, told
from support.databases import Database, let_everybody_make_temporary_tables, raise_walls
from support.hostile import HOSTILE
from support.storm import Storm, audit, orphans, settle, slots_lost

from tenancy import Tenancy

pytestmark = pytest.mark.timeout(6 * 3600)

SHORT, LONG = 50_000, 1_000_000
SHORT_TENANTS, LONG_TENANTS = 50, 500
LEVELS_SHORT, LEVELS_LONG = ("role",), ("role", "schema", "strict")
SIZES = {10: 0.8, 1: 0.08, 40: 0.12}  # of the pool, and each one's share of the requests
ZERO = (
    *("crossed", "state of others seen", "lost", "doubled", "unaccounted", "misplaced"),
    *("slots lost", "orphaned back ends"),
)


@pytest.mark.parametrize("isolation", LEVELS_LONG)
async def test_a_storm_crosses_loses_doubles_and_leaves_nothing(
    database: Database, seed: int, long: bool, isolation: str, caplog: pytest.LogCaptureFixture
) -> None:
    if not long and isolation not in LEVELS_SHORT:
        pytest.skip("this level is tortured in the long form")
    caplog.set_level(logging.ERROR, "tenancy")  # of each connection that is closed
    if isolation == "strict":
        await raise_walls(database)
    else:
        await let_everybody_make_temporary_tables(database)
    slugs = [f"tenant-{n}" for n in range(LONG_TENANTS if long else SHORT_TENANTS)]
    schemas = await settle(slugs, database, isolation)
    requests = LONG // len(LEVELS_LONG) if long else SHORT
    books = Books()
    counts: Counter[str] = Counter(dict.fromkeys(ZERO, 0))
    kinds: Counter[str] = Counter()
    surprises: list[str] = []
    began = time.monotonic()
    for size, share in SIZES.items():
        settings = database.settings(
            isolation=isolation, pool_min_size=1, pool_max_size=size, registry_ttl_seconds=30.0
        )
        async with Tenancy(settings=settings) as tenancy:
            storm = Storm(tenancy, schemas, seed + size, int(requests * share), str(size), books)
            await storm.run(database, width=min(3 * size, 60))
            counts["slots lost"] += await slots_lost(tenancy, *slugs)
            counts["orphaned back ends"] += await orphans(database, size)
        counts.update(storm.counts)
        kinds.update(storm.kinds)
        surprises += storm.surprises
    counts.update(await audit(books, schemas, database))
    seconds = round(time.monotonic() - began)
    figures = {**counts, **books.sums(), "seconds": seconds, "seed": seed}
    told(f"storm at level {isolation}", figures)
    told("hostile views", kinds)
    assert {name: counts[name] for name in ZERO} == dict.fromkeys(ZERO, 0), figures
    assert not surprises, surprises[:10]
    assert len(kinds) == len(HOSTILE)
    assert all((counts["cancelled"], counts["killed"], counts["rows read"], books.uncertain))
