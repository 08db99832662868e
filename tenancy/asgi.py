"""The front: from a request's host to its tenant, before any framework has parsed anything.

`Front` is middleware for any ASGI application. `HTTPConnection` is how Quart runs one request.
"""

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart.asgi import ASGIHTTPConnection
from quart.wrappers import Request

from tenancy import tenant
from tenancy.errors import (
    CommitUnknownError,
    MalformedHostError,
    ShuttingDownError,
    TenancyError,
)
from tenancy.problems import problem
from tenancy.tenant import Tenant

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Resolve = Callable[[Scope], Awaitable[Tenant]]
Hook = Callable[[], Awaitable[None]]
Probe = Callable[[], Awaitable[tuple[int, bytes]]]

REFUSAL = "tenancy.refusal"
"""Key of the ASGI scope under which a deferred refusal waits for the framework inside."""

CANCEL_TIMEOUT_SECONDS = 5.0
POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1


class Front:
    """Resolve the tenant of each request, and serve it inside, or answer why not.

    Args:
        app: the application inside.
        resolve: from an ASGI scope to a tenant that may be served.
        probes: health endpoints by path; they answer on any host, a malformed or missing one too.
        defer: leave refusals, but for malformed hosts, to the framework inside, which knows the
            views that need no tenant; it finds them under `REFUSAL`.
        lifespan: what to await before the application's own start-up, and after its own shutdown.
    """

    def __init__(
        self,
        app: Application,
        resolve: Resolve,
        *,
        probes: Mapping[str, Probe] | None = None,
        defer: bool = False,
        lifespan: tuple[Hook, Hook] | None = None,
    ) -> None:
        self._app = app
        self._resolve = resolve
        self._probes = probes or {}
        self._defer = defer
        self._lifespan_hooks = lifespan or (_nothing, _nothing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one connection of the server's: ASGI's own interface."""
        if scope["type"] == "lifespan":
            return await self._lifespan(scope, receive, send)
        if scope["type"] == "http" and scope["path"] in self._probes:
            status, body = await self._probes[scope["path"]]()
            return await _respond(send, status, [("content-type", "application/json")], body)
        served: Tenant | None = None
        try:
            served = await self._resolve(scope)
        except TenancyError as error:
            if not self._defer or isinstance(error, MalformedHostError):
                return await refuse(scope, send, error)
            scope[REFUSAL] = error
        with tenant.serving(served):
            return await self._app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        on_startup, on_shutdown = self._lifespan_hooks

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await on_startup()
            return message

        async def sending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await on_shutdown()
            await send(message)

        await self._app(scope, receiving, sending)


async def _nothing() -> None:
    pass


class HTTPConnection(ASGIHTTPConnection):
    """Quart's, but a request that the server cancels at shutdown ends, with its transaction.

    Quart waits for its view with `asyncio.wait`, which leaves it running when the request is
    cancelled: it would commit after hypercorn has answered 500 for it.
    """

    _answering = False
    _cancelled = False

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """As Quart's, but for a cancellation."""
        self._children: set[asyncio.Task[Any]] = set()

        async def answer(message: ASGISendEvent) -> None:
            self._answering = True
            await send(message)

        try:
            await super().__call__(receive, answer)
        except asyncio.CancelledError:
            self._cancelled = True
            await self._end_children()
            if not self._answering:
                await refuse(self.scope, send, _cancellation())  # type: ignore[arg-type]
            raise

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        """As Quart's."""
        with self._child():
            await super().handle_messages(request, receive)

    async def handle_request(self, request: Request, send: ASGISendCallable) -> None:
        """As Quart's."""
        with self._child():
            await super().handle_request(request, send)

    @contextmanager
    def _child(self) -> Iterator[None]:
        if self._cancelled:  # before this task's first step
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - Quart runs each child as a task
        self._children.add(task)
        try:
            yield
        finally:
            self._children.discard(task)

    async def _end_children(self) -> None:
        children = set(self._children)
        for task in children:
            task.cancel()
        if children:
            await asyncio.wait(children, timeout=CANCEL_TIMEOUT_SECONDS)


def _cancellation() -> TenancyError:
    """Return what the client is told: never "not saved" once a COMMIT was sent."""
    if tenant.commit_was_sent():
        return CommitUnknownError("the request was cancelled at shutdown, after a COMMIT was sent")
    return ShuttingDownError("the request was cancelled at shutdown")


def drain_on_sigterm() -> None:
    """Let a worker process of hypercorn finish its requests when it is sent SIGTERM.

    hypercorn's master tells its workers to drain by an event, then sends SIGTERM to all that remain
    as soon as the first one has ended; systemd sends it to all at once. A worker has no handler and
    would die in the middle of its requests. One that has a handler is left alone.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    is_worker = multiprocessing.parent_process() is not None
    if is_worker and in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def refuse(scope: Scope, send: Send, error: TenancyError) -> None:
    """Answer *error* by its problem document; a websocket that cannot carry one is closed."""
    answer = problem(error)
    if scope["type"] == "http":
        await _respond(send, answer.status, answer.headers, answer.body)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await _respond(send, answer.status, answer.headers, answer.body, kind="websocket.http")
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})


async def _respond(
    send: Send, status: int, headers: list[tuple[str, str]], body: bytes, kind: str = "http"
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": f"{kind}.response.start", "status": status, "headers": raw})
    await send({"type": f"{kind}.response.body", "body": body, "more_body": False})
