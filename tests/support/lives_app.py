"""The demo, which says in each answer which process gave it, and on request who is served."""

import os
from typing import Any

from tenancy import Tenancy
from tenancy.demo import create_app


class Stamped:
    """An ASGI application whose answers name the process in ``X-Worker``."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                stamp = (b"x-worker", str(os.getpid()).encode())
                message = {**message, "headers": [*message["headers"], stamp]}
            await send(message)

        await self._app(scope, receive, stamped)


def create() -> Stamped:
    app = create_app()

    @app.get("/whoami")
    async def whoami() -> dict[str, str]:
        tenancy: Tenancy = app.extensions["tenancy"]
        return {"id": str(tenancy.tenant.id)}

    return Stamped(app)
