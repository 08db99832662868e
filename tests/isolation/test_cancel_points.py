"""CANCEL, of G7: a block cancelled at each of its await points, and then an innocent follower.

Short form: 2,000 cancellations. Long form (--long): 100,000.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from support.books import Books, told
from support.databases import Database
from support.notes import read, write
from support.points import cancelled_at, points_of
from support.storm import orphans, slots_lost

from tenancy import Tenancy
from tenancy.errors import CommitUnknownError

pytestmark = pytest.mark.timeout(3600)

SHORT, LONG = 2_000, 100_000
CELLS = 3 * 2 * 2

Loop = Callable[[], asyncio.AbstractEventLoop]


def _uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip(
        "uvloop", reason="uvloop is not installed, and there is nothing to try on it"
    ).new_event_loop()
    return loop


async def _insert(tenancy: Tenancy, body: str) -> str:
    async with tenancy.transaction("acme") as conn:
        await conn.execute("INSERT INTO notes (body) VALUES ($1)", body)
        await conn.fetchval("SELECT count(*) FROM notes")
    return body


async def _cancel_everywhere(
    database: Database, rng: random.Random, times: int, rounds: int, *, warm: bool
) -> Books:
    books = Books()
    settings = database.settings(pool_max_size=2, pool_min_size=2 if warm else 0)
    async with Tenancy(settings=settings) as tenancy:
        await write(tenancy, "globex", "of globex")
        await tenancy.pool._pool.expire_connections()
        points = await points_of(_insert(tenancy, "0"))
        if warm:
            points = await points_of(_insert(tenancy, "1"))
        for n in range(2, rounds + 2):
            if not warm:
                await tenancy.pool._pool.expire_connections()
            body = str(n)
            delay = rng.choice((None, 0.0, rng.random() * 0.003))
            # A block that retries or waits has more points than one that does not.
            point = n % (points + 2) + 1
            try:
                await cancelled_at(_insert(tenancy, body), point, times, delay)
            except asyncio.CancelledError:
                books.failed[body] = "cancelled"
            except CommitUnknownError:
                books.uncertain.add(body)
            else:
                books.acknowledged.add(body)
            follower = read(tenancy, "globex")
            assert await asyncio.wait_for(asyncio.create_task(follower), 10) == ["of globex"]
        rows = await read(tenancy, "acme")
        differs = books.audit(body for body in rows if body not in {"0", "1"})
        told("cancelled", {"points": points, **books.sums(), **differs})
        assert set(differs.values()) == {0}
        assert await slots_lost(tenancy, "acme", "globex") == 0
        assert await orphans(database, at_most=2) == 0
    return books


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, _uvloop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("times", [1, 2, 5], ids=["once", "twice", "storm"])
def test_a_block_cancelled_anywhere_saves_nothing_unsaid_and_loses_no_slot(  # noqa: PLR0913, PLR0917 - fixtures are arguments
    database: Database, seed: int, long: bool, times: int, warm: bool, loop: Loop
) -> None:
    rounds = (LONG if long else SHORT) // CELLS + 1
    rng = random.Random(seed)
    made = loop()  # before the thread: it may skip
    with asyncio.Runner(loop_factory=lambda: made) as runner:
        books = runner.run(_cancel_everywhere(database, rng, times, rounds, warm=warm))
    assert books.failed
    assert books.acknowledged or books.uncertain


async def _listens(conn: asyncpg.Connection) -> None:
    await conn.add_listener("channel", lambda *_: None)


async def _names_a_statement(conn: asyncpg.Connection) -> None:
    await conn.prepare("SELECT 1", name="mine")


async def _outlives_its_pool(conn: asyncpg.Connection) -> None:
    await conn._holder._pool.expire_connections()


@pytest.mark.filterwarnings("ignore:.*active notification listener:asyncpg.InterfaceWarning")
@pytest.mark.parametrize("act", [_listens, _names_a_statement, _outlives_its_pool])
async def test_a_saved_block_whose_connection_takes_time_to_release_is_not_told_cancelled(
    tenancy: Tenancy, act: Callable[[asyncpg.Connection], Awaitable[None]]
) -> None:
    async def insert(body: str) -> str:
        async with tenancy.transaction("acme") as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ($1)", body)
            await act(conn)
        return body

    books = Books()
    for n in range(40):
        try:
            await cancelled_at(insert(str(n)), n // 2 + 1, 1, (None, 0.0)[n % 2])
        except asyncio.CancelledError:
            books.failed[str(n)] = "cancelled"
        except CommitUnknownError:
            books.uncertain.add(str(n))
        else:
            books.acknowledged.add(str(n))
    rows = await read(tenancy, "acme")
    assert set(books.audit(rows).values()) == {0}, books.suspects(rows)
    assert books.acknowledged
    assert await slots_lost(tenancy, "acme", "globex") == 0
