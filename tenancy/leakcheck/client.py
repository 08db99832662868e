"""An ASGI server's side of one application, in this process: lifespan and requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from tenancy.errors import LeakcheckError
from tenancy.leakcheck.calls import NO_ANSWER, Answer, Call, Event
from tenancy.leakcheck.options import Application

STREAM_SECONDS = 0.3  # an endless stream is read for so long
CLOSE_SECONDS = 0.05  # a client keeps its connection a moment after the answer
END_SECONDS = 2.0
START_SECONDS = 30.0
STOP_SECONDS = 5.0


@asynccontextmanager
async def lifespan(app: Application) -> AsyncIterator[dict[str, Any]]:
    """Start *app* and stop it at the end; yield its lifespan state.

    An application that knows no lifespan is served without.

    Raises:
        LeakcheckError: it failed to start.
    """
    state: dict[str, Any] = {}
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.create_task(_run(app, scope, received, sent))
    await received.put({"type": "lifespan.startup"})
    answer = await _message(sent, task, START_SECONDS)
    if answer.get("type") == "lifespan.startup.failed":
        raise LeakcheckError(f"the application failed to start: {answer.get('message', '')}")
    try:
        yield state
    finally:
        if not task.done():
            await received.put({"type": "lifespan.shutdown"})
            await _message(sent, task, STOP_SECONDS)
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def _run(
    app: Application,
    scope: dict[str, Any],
    received: "asyncio.Queue[dict[str, Any]]",
    sent: "asyncio.Queue[dict[str, Any]]",
) -> None:
    await app(scope, received.get, sent.put)


async def _message(
    sent: "asyncio.Queue[dict[str, Any]]", task: "asyncio.Task[None]", seconds: float
) -> dict[str, Any]:
    waiting = asyncio.create_task(sent.get())
    await asyncio.wait({waiting, task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        return {}
    return waiting.result()


async def send(
    app: Application, call: Call, state: dict[str, Any], timeout_seconds: float
) -> Answer:
    """Send *call* to *app* and collect its answer; the application's task has ended then.

    An answer that goes on is read for `STREAM_SECONDS`; then the client hangs up.
    """
    answer = Answer()
    exchange = _Exchange(call, answer)
    task = asyncio.create_task(_guarded(app, _scope(call, state), exchange))
    call.task = task
    done, _ = await asyncio.wait({task}, timeout=timeout_seconds)
    if not done:
        answer.error = answer.error or f"{NO_ANSWER} {timeout_seconds:g} s"
        call.hung_up.set()
        done, _ = await asyncio.wait({task}, timeout=END_SECONDS)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=END_SECONDS)
    return answer


async def _guarded(app: Application, scope: dict[str, Any], exchange: "_Exchange") -> None:
    try:
        await app(scope, exchange.receive, exchange.send)
    except asyncio.CancelledError:
        if exchange.call.ordeal.event is not Event.CANCEL:
            exchange.answer.error = exchange.answer.error or "cancelled"
    except Exception as error:  # noqa: BLE001 - a server answers 500, and goes on
        exchange.answer.error = type(error).__name__


class _Exchange:
    """The two ASGI channels of one request."""

    def __init__(self, call: Call, answer: Answer) -> None:
        self.call = call
        self.answer = answer
        self._is_read = False

    async def receive(self) -> dict[str, Any]:
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self.call.body, "more_body": False}
        await self.call.hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        if message["type"] == "http.response.start":
            self.answer.status = int(message["status"])
            self.answer.headers = [(bytes(k), bytes(v)) for k, v in message.get("headers", ())]
            loop.call_later(STREAM_SECONDS, self.call.hung_up.set)
        elif message["type"] == "http.response.body":
            self.answer.body += message.get("body", b"")
            if not message.get("more_body", False):
                loop.call_later(CLOSE_SECONDS, self.call.hung_up.set)


def _scope(call: Call, state: dict[str, Any]) -> dict[str, Any]:
    parts = urlsplit(call.target)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": call.headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
        "state": dict(state),
        "extensions": {},
    }
