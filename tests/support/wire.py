"""A proxy in front of PostgreSQL that counts round trips and can break the wire."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

Verdict = Callable[[bytes], str]

PASS, CUT, HOLD, CUT_ANSWER = "pass", "cut", "hold", "cut the answer"
RESET, RESET_ANSWER, HOLD_ANSWER = "reset", "reset the answer", "hold the answer"
DELAY, DELAY_ANSWER = "delay", "delay the answer"

DELAY_SECONDS = 0.1
_LINGER_NOT = struct.pack("ii", 1, 0)  # close() sends RST (socket(7), SO_LINGER)


def passing(_: bytes) -> str:
    return PASS


def when(word: bytes, verdict: str, times: int = 1) -> Verdict:
    """Return *verdict* for the first *times* bursts that hold *word*."""
    left = times

    def decide(data: bytes) -> str:
        nonlocal left
        if word in data and left:
            left -= 1
            return verdict
        return PASS

    return decide


@dataclass
class Wire:
    """One proxy.

    Attributes:
        url: the address to connect to instead of the server's.
        round_trips: bursts of the client's that the server answered.
        latency_seconds: added to each burst of the client's, as a network would.
        verdict: asked for each burst of the client's: pass it on, cut or reset the connection
            instead, swallow it and what follows, pass it on late, or do so to its answer.
    """

    url: str
    round_trips: int = 0
    latency_seconds: float = 0.0
    verdict: Verdict = passing
    _links: list[asyncio.Task[None]] = field(default_factory=list)

    async def relay(  # noqa: C901 - two directions and nine verdicts
        self, client: Any, to_client: Any, upstream: Any, to_server: Any
    ) -> None:
        about_answer = PASS
        waiting = False

        async def out() -> None:
            nonlocal waiting, about_answer
            while data := await client.read(65536):
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
                verdict = self.verdict(data)
                if await ended(verdict):
                    return
                about_answer = verdict.partition(" the answer")[0] if "answer" in verdict else PASS
                waiting = True
                to_server.write(data)
                await to_server.drain()

        async def back() -> None:
            nonlocal waiting
            while data := await upstream.read(65536):
                if await ended(about_answer):
                    return
                if waiting:
                    waiting = False
                    self.round_trips += 1
                to_client.write(data)
                await to_client.drain()

        async def ended(verdict: str) -> bool:
            if verdict == HOLD:
                await asyncio.Event().wait()
            if verdict == DELAY:
                await asyncio.sleep(DELAY_SECONDS)
            if verdict == RESET:
                to_client.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT
                )
            return verdict in (CUT, RESET)

        tasks = {asyncio.ensure_future(out()), asyncio.ensure_future(back())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.transport.abort()

    async def link(self, reader: Any, writer: Any, connect: Callable[[], Any]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.append(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self.relay(reader, writer, *await connect())
        finally:
            writer.transport.abort()


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """Put a proxy before the server at *url*."""
    parts = urlsplit(url)
    socket_dir = parse_qs(parts.query).get("host", [""])[0]

    async def connect() -> Any:
        if socket_dir:
            return await asyncio.open_unix_connection(f"{socket_dir}/.s.PGSQL.5432")
        return await asyncio.open_connection(parts.hostname, parts.port or 5432)

    proxy = Wire("")
    server = await asyncio.start_server(
        lambda reader, writer: proxy.link(reader, writer, connect), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    login = parts.netloc.rpartition("@")[0]
    proxy.url = urlunsplit(
        (parts.scheme, f"{login}@127.0.0.1:{port}", parts.path, "sslmode=disable", "")
    )
    try:
        yield proxy
    finally:
        server.close()
        await asyncio.sleep(0)  # those accepted just now
        for task in proxy._links:
            task.cancel()
        await asyncio.gather(*proxy._links, return_exceptions=True)
