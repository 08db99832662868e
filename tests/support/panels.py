"""The operator's API in the test's own process, and clients of it with tokens."""

import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from quart import Quart

from tenancy import Settings, provision
from tenancy.admin import create_admin_app
from tenancy.provision.tokens import Scope

HOST = "127.0.0.1:8001"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def code(self) -> str:
        """Of a problem document."""
        assert self.headers["content-type"] == "application/problem+json"
        return str(self.body["code"])


@dataclass
class Panel:
    """A client with a token."""

    app: Quart
    token: str
    address: str = "10.1.2.3"
    headers: dict[str, str] = field(default_factory=dict)

    async def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send one request; ``If_Match="*"`` is a header."""
        sent = {"Host": HOST, **self.headers}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        given = {} if body is None else {"json": body}
        answer = await self.app.test_client().open(
            path,
            method=method,
            headers=sent,
            scope_base={"client": (self.address, 5)},
            **given,  # type: ignore[arg-type]
        )
        content = await answer.get_data()
        is_json = "json" in answer.headers.get("content-type", "")
        lowered = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status_code, lowered, json.loads(content) if is_json else content)


async def token(
    settings: Settings, scopes: Collection[Scope] = tuple(Scope), name: str = "panel"
) -> str:
    async with provision.administrator(settings) as admin:
        return (await admin.create_token(name, scopes))[1]


@asynccontextmanager
async def panel(
    settings: Settings, scopes: Collection[Scope] = tuple(Scope)
) -> AsyncIterator[Panel]:
    """Serve the API; its client has a token with *scopes*."""
    app = create_admin_app(settings)
    async with app.test_app():
        yield Panel(app, await token(settings, scopes))
