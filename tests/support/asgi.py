"""One request to an ASGI application, with headers as raw as a test wants them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


async def call(  # noqa: PLR0913 - by name
    app: Any,
    headers: Sequence[tuple[bytes, bytes]],
    path: str = "/",
    method: str = "GET",
    sent: list[Any] | None = None,
    *,
    body: bytes = b"",
) -> Answer:
    """Send one request; collect the whole answer, its messages in *sent*."""
    sent = [] if sent is None else sent
    bodies: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not bodies:
            await asyncio.Event().wait()  # a client that waits for its answer
        return bodies.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": list(headers), "client": ("127.0.0.1", 1), "extensions": {},
    }  # fmt: skip
    await app(scope, receive, send)
    start = sent[0]
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(start["status"], dict(start["headers"]), answer)


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Start *app*, and stop it when the block ends."""
    events: asyncio.Queue[Any] = asyncio.Queue()
    done: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan"}, events.get, done.put))
    for step in ("startup", "shutdown"):
        await events.put({"type": f"lifespan.{step}"})
        assert (await done.get())["type"] == f"lifespan.{step}.complete"
        if step == "startup":
            yield
    await task
