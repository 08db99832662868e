"""An application that says which worker answered."""

import os

from quart import Quart

from tenancy.app import create_app


def create() -> Quart:
    app = create_app()

    @app.get("/worker")
    async def worker() -> dict[str, int]:
        return {"worker": os.getpid()}

    return app
