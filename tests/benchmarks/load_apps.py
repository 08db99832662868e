"""Views for load.py and fairness.py: one bound by Python, one by the database, one with a body."""

import os
from typing import Any

from quart import Quart, request

from tenancy import Tenancy
from tenancy.fairness.permits import Permits


class Unlimited(Permits):
    """As if there were none: every request queues at the pool itself."""

    async def acquire(
        self, whose: str, limit: int | None = None, waited_seconds: float = 0.0
    ) -> None:
        pass

    def release(self, whose: str) -> None:
        pass


def create() -> Quart:
    app = Quart("load")
    tenancy = Tenancy()
    tenancy.init_app(app, probes=True)

    if os.environ.get("BENCHMARK_NO_PERMITS"):

        @app.before_serving
        async def no_permits() -> None:
            for name in ("permits", "entrance"):
                unlimited = Unlimited(1, tenant_limit=None, max_waiting=1, timeout_seconds=5.0)
                setattr(tenancy.pool, name, unlimited)

    @app.get("/notes")
    async def notes() -> list[dict[str, Any]]:
        async with tenancy.transaction(readonly=True) as conn:
            return [
                dict(row)
                for row in await conn.fetch("SELECT id, body FROM notes ORDER BY id LIMIT 20")
            ]

    @app.get("/sleep/<int:milliseconds>")
    async def sleep(milliseconds: int) -> dict[str, int]:
        async with tenancy.transaction(readonly=True) as conn:
            await conn.execute("SELECT pg_sleep($1)", milliseconds / 1000)
        return {"slept": milliseconds}

    @app.post("/notes")
    async def write() -> tuple[dict[str, int], int]:
        body = await request.get_data(as_text=True)  # all of it, before a connection is taken
        async with tenancy.transaction() as conn:
            row = await conn.fetchval("INSERT INTO notes (body) VALUES ($1) RETURNING id", body)
        return {"id": row}, 201

    return app
