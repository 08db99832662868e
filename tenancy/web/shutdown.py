"""What must end, and what must not, when the server is told to stop."""

import asyncio
import logging
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart.asgi import ASGIHTTPConnection, ASGIWebsocketConnection

from tenancy import tenant, transaction
from tenancy.errors import CommitUnknownError, ShuttingDownError, TenancyError
from tenancy.problems import SERVICE_RESTART, Problem
from tenancy.web.asgi import refuse

_log = logging.getLogger(__name__)

CANCEL_TIMEOUT_SECONDS = 5.0

# In the scope of a websocket: why its view has ended.
PROBLEM = "tenancy.problem"

_holding_paths: set[str] = set()
MAX_HOLDING_PATHS = 100


class _Ending:
    """Tasks of one connection of Quart's that end when the server cancels the connection.

    Quart waits for its view with `asyncio.wait` (until 0.22), which leaves it running when the
    request is cancelled: it would commit after hypercorn has answered 500 for it.
    """

    _cancelled = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._children: set[asyncio.Task[Any]] = set()

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
        self._cancelled = True
        children = set(self._children)
        for task in children:
            task.cancel()
        if children:
            await asyncio.wait(children, timeout=CANCEL_TIMEOUT_SECONDS)


class HTTPConnection(_Ending, ASGIHTTPConnection):
    """Quart's, but a request cancelled at shutdown ends, and is told what became of it."""

    _answering = False

    # Any arguments: from Quart 0.22 to 0.23 they have changed.

    async def handle_messages(self, *args: Any) -> None:
        """As Quart's."""
        with self._child():
            await super().handle_messages(*args)

    async def handle_request(self, *args: Any) -> None:
        """As Quart's."""
        with self._child():
            await super().handle_request(*args)

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """As Quart's, but for a cancellation."""

        async def answer(message: ASGISendEvent) -> None:
            self._answering = True
            block = transaction.open_block.get()
            if block is not None and block.is_mine():
                _warn_of_holding(self.scope["path"])
            await send(message)

        try:
            await super().__call__(receive, answer)
        except asyncio.CancelledError:
            await self._end_children()
            if not self._answering:
                await refuse(self.scope, send, _cancellation())  # type: ignore[arg-type]
            raise


class WebsocketConnection(_Ending, ASGIWebsocketConnection):
    """Quart's, but one cancelled at shutdown ends."""

    async def handle_messages(self, *args: Any) -> None:
        """As Quart's."""
        with self._child():
            await super().handle_messages(*args)

    async def handle_websocket(self, *args: Any) -> None:
        """As Quart's."""
        with self._child():
            await super().handle_websocket(*args)

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """As Quart's, but for a cancellation, and for the code it closes with after an error."""
        scope: Any = self.scope

        async def answer(message: Any) -> None:
            if message["type"] == "websocket.close" and PROBLEM in scope:
                ended_by: Problem = scope[PROBLEM]  # Quart's own code says that all is well
                message = {**message, "code": ended_by.close_code, "reason": ended_by.code}
            await send(message)

        try:
            await super().__call__(receive, answer)
        except asyncio.CancelledError:
            await self._end_children()
            if self._accepted and not self._closed:
                await send(
                    {
                        "type": "websocket.close",
                        "code": SERVICE_RESTART,
                        "reason": ShuttingDownError.code,
                    }
                )
            raise


def _warn_of_holding(path: str) -> None:
    """Say once of each path that its stream holds a connection for as long as clients read."""
    if path not in _holding_paths and len(_holding_paths) < MAX_HOLDING_PATHS:
        _holding_paths.add(path)
        _log.warning(
            "%s sends its answer from inside tenancy.transaction(): each client holds a connection "
            "of the pool for as long as it reads, and hears of what is not committed yet; let the "
            "stream open a block for each step",
            path,
        )


def _cancellation() -> TenancyError:
    """Return what the client is told: never "not saved" once a COMMIT was sent."""
    if tenant.refuse_commits():
        return ShuttingDownError("the request was cancelled at shutdown")
    return CommitUnknownError("the request was cancelled at shutdown, after a COMMIT was sent")


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
