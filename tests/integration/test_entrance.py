"""As many requests are inside the framework as soon reach a connection; the rest wait in front."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from quart import Quart
from support.asgi import call, lifespan
from support.databases import Database

from tenancy import Tenancy

HEADERS = [(b"host", b"acme.example.com")]


class Served:
    """An application whose view waits before its transaction, for whoever asks."""

    def __init__(self, database: Database, **overrides: object) -> None:
        settings = database.settings(pool_max_size=2, **overrides)
        self.tenancy = Tenancy(settings=settings)
        self.app = Quart("served")
        self.tenancy.init_app(self.app)
        self.inside = 0
        self.most = 0
        self.go_on = asyncio.Event()
        self.app.add_url_rule("/", view_func=self.view)

    async def view(self) -> str:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.go_on.wait()
        async with self.tenancy.transaction(readonly=True) as conn:
            self.inside -= 1
            await conn.fetchval("SELECT 1")
        return "served"

    async def ask(self, requests: int) -> list["asyncio.Task[Any]"]:
        tasks = [asyncio.create_task(call(self.app, HEADERS)) for _ in range(requests)]
        while self.inside + self.tenancy.pool.entrance.waiting < requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return tasks


async def test_the_rest_wait_in_front_and_all_are_served(database: Database) -> None:
    served = Served(database)
    async with lifespan(served.app):
        tasks = await served.ask(30)
        assert served.inside == 2  # half of the places: one tenant leaves room for others
        served.go_on.set()
        assert Counter(answer.status for answer in await asyncio.gather(*tasks)) == {200: 30}
        assert served.most <= 4
        assert served.tenancy.pool.entrance.free == 4


async def test_who_is_inside_for_long_no_longer_counts(database: Database) -> None:
    """A body that comes a byte a second, a stream, a call to another service."""
    served = Served(database)
    async with lifespan(served.app):
        tasks = await served.ask(12)
        async with asyncio.timeout(30):
            while served.inside < 12:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        served.go_on.set()
        assert {answer.status for answer in await asyncio.gather(*tasks)} == {200}
        assert served.tenancy.pool.entrance.free == 4


@pytest.mark.parametrize(
    ("overrides", "served_too"), [({"pool_acquire_timeout_seconds": 0.2}, 2), ({}, 2)]
)
async def test_waiting_in_front_ends_in_a_503(
    database: Database, overrides: dict[str, object], served_too: int
) -> None:
    served = Served(database, pool_max_waiting=8, **overrides)
    async with lifespan(served.app):
        tasks = [asyncio.create_task(call(served.app, HEADERS)) for _ in range(30)]
        async with asyncio.timeout(30):
            while served.inside < served_too or sum(task.done() for task in tasks) < 20:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        refused = next(task for task in tasks if task.done()).result()
        assert refused.status == 503
        assert refused.headers[b"retry-after"] == b"1"
        assert b"tenant_busy" in refused.body
        served.go_on.set()
        statuses = Counter(answer.status for answer in await asyncio.gather(*tasks))
        assert set(statuses) == {200, 503}


async def test_a_request_cancelled_in_front_leaves_its_place(database: Database) -> None:
    served = Served(database)
    async with lifespan(served.app):
        tasks = await served.ask(10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(30):
            while served.tenancy.pool.entrance.free < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert served.tenancy.pool.entrance.waiting == 0
