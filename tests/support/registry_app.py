"""An application that says which worker answered."""

import os

from quart import Quart, request

from tenancy import Tenancy
from tenancy.app import create_app


def create() -> Quart:
    app = create_app()

    @app.get("/worker")
    async def worker() -> dict[str, int]:
        return {"worker": os.getpid()}

    @app.get("/notes")
    async def read() -> dict[str, int]:
        async with _tenancy(app).transaction() as conn:
            return {"notes": await conn.fetchval("SELECT count(*) FROM notes")}

    @app.post("/notes")
    async def write() -> tuple[dict[str, int], int]:
        note = await request.get_json()
        async with _tenancy(app).transaction() as conn:
            await conn.execute("INSERT INTO notes (body) VALUES ($1)", note["body"])
        return {}, 201

    return app


def _tenancy(app: Quart) -> Tenancy:
    extension: Tenancy = app.extensions["tenancy"]
    return extension
