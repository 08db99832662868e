"""A front whose answer is whom the request was for, over a registry of the test's own."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from support.asgi import Answer, call
from support.databases import Database
from tenancy import Tenancy
from tenancy.resolvers import Resolver
from tenancy.web.asgi import Front

Make = Callable[..., Front]


@asynccontextmanager
async def fronts(database: Database, **options: Any) -> AsyncIterator[Make]:
    """Make fronts with resolvers and settings of the test's own, on one started Tenancy."""
    async with Tenancy(settings=database.settings(**options)) as started:

        def made(resolver: Resolver, **more: Any) -> Front:
            own = Tenancy(resolver, settings=database.settings(**{**options, **more}))
            own._pool, own._registry = started._pool, started._registry
            own.registry.forget()  # what the test has changed a moment ago

            async def whose(_scope: Any, _receive: Any, send: Any) -> None:
                async with own.transaction() as conn:
                    schema = await conn.fetchval("SELECT current_schema()")
                body = json.dumps({"slug": own.tenant.slug, "schema": schema}).encode()
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": body})

            return own.middleware(whose)

        yield made


async def asked(
    front: Any,
    host: str,
    path: str = "/",
    method: str = "GET",
    *,
    headers: Any = (),
    **more: Any,
) -> tuple[int, str]:
    """Send a request; return the status, and the location, the slug or the problem's code."""

    async def changed(scope: Any, receive: Any, send: Any) -> None:
        await front({**scope, **more}, receive, send)

    sent = [(b"host", host.encode()), *headers]
    return _told(await call(changed, sent, path, method))


def _told(answer: Answer) -> tuple[int, str]:
    if b"location" in answer.headers:
        assert answer.headers[b"cache-control"] == b"no-store"
        return answer.status, answer.headers[b"location"].decode()
    body = json.loads(answer.body)
    return answer.status, body.get("slug") or body["code"]
