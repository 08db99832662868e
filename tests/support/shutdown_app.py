"""An application for the shutdown tests: it writes, waits, and commits late."""

import asyncio

from quart import Quart, current_app, request

from tenancy.app import create_app


def create() -> Quart:
    app = create_app()

    @app.post("/slow")
    async def slow() -> tuple[str, int]:
        body = await request.get_json()
        async with current_app.extensions["tenancy"].transaction() as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ($1)", body["body"])
            await asyncio.sleep(body["seconds"])
        return "saved", 201

    @app.post("/stubborn")
    async def stubborn() -> tuple[str, int]:
        """Commit first, and dawdle then: cancelled, it must not be told that nothing was saved."""
        body = await request.get_json()
        async with current_app.extensions["tenancy"].transaction() as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ($1)", body["body"])
        await asyncio.sleep(body["seconds"])
        return "saved", 201

    return app
