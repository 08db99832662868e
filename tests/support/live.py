"""An application under hypercorn in the test's own process, and clients that hold on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Message,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from support.processes import free_port, request

HOST = "acme.example.com"


class Live:
    """A served application: its port, its clients, and the way to stop it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stopping = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def ended(self, serving: "asyncio.Task[None]") -> None:
        """Stop; wait until everybody has been told and the application has shut down."""
        self.stopping.set()
        await asyncio.wait_for(serving, 30)
        for writer in self._writers:
            writer.transport.abort()

    async def open(self, path: str, host: str = HOST) -> "Stream":
        """Send a request; return its answer while it arrives."""
        reader, writer = await self._connect()
        writer.write(request("GET", path, host))
        return Stream(reader, writer)

    async def get(self, path: str, host: str = HOST) -> tuple[int, bytes]:
        """The whole answer to a request."""
        async with asyncio.timeout(20):
            stream = await self.open(path, host)
            status = await stream.status()
            return status, b"".join(await stream.rest())

    async def websocket(self, path: str, host: str = HOST) -> "Socket":
        reader, writer = await self._connect()
        socket = Socket(reader, writer)
        await socket.shake_hands(host, path)
        return socket


class Stream:
    """An answer in chunks.

    Attributes:
        complete: whether the server ended it, as opposed to cutting it off.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.complete = False
        self._length: int | None = None

    async def status(self) -> int:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        for line in head.splitlines():
            if line.startswith("content-length: "):
                self._length = int(line.split(": ")[1])
        return int(head.split(" ", 2)[1])

    async def chunk(self) -> bytes:
        """The next chunk; empty at the end."""
        if self._length is not None:
            body = await self._reader.readexactly(self._length) if self._length else b""
            self._length, self.complete = 0, True
            return body
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # cut off
            size = int((await self._reader.readuntil(b"\r\n")).strip(), 16)
            data = await self._reader.readexactly(size + 2)
            self.complete = size == 0
            return data[:-2]
        return b""

    async def rest(self) -> list[bytes]:
        """The chunks that are still to come."""
        chunks = []
        while data := await self.chunk():
            chunks.append(data)
        return chunks

    def hang_up(self) -> None:
        self._writer.transport.abort()


class Socket:
    """A websocket's client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self.refused: int | None = None
        self.reason: str | None = None

    async def shake_hands(self, host: str, path: str) -> None:
        self._writer.write(self._protocol.send(Request(host=host, target=path)))
        event = await self._event()
        if isinstance(event, RejectConnection):
            self.refused = event.status_code
        else:
            assert isinstance(event, AcceptConnection), event

    async def _event(self) -> Any:
        async with asyncio.timeout(20):
            while True:
                for event in self._protocol.events():
                    if not isinstance(event, RejectData):
                        return event
                self._protocol.receive_data(await self._reader.read(65536) or None)

    async def ask(self, text: str) -> str | int:
        """The answer to *text*, or the code that the server closes with."""
        self._writer.write(self._protocol.send(Message(data=text)))
        return await self.hear()

    async def hear(self) -> str | int:
        event = await self._event()
        if isinstance(event, CloseConnection):
            self.reason = event.reason
            return int(event.code)
        assert isinstance(event, TextMessage), event
        return event.data

    def hang_up(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def live(app: Any, *, graceful_seconds: float = 1.0) -> AsyncIterator[Live]:
    """Serve *app* until the block ends, then as a server that is told to stop."""
    server = Live(free_port())
    config = Config()
    config.bind = [f"127.0.0.1:{server.port}"]
    config.graceful_timeout = graceful_seconds
    config.errorlog = None
    task = asyncio.create_task(serve(app, config, shutdown_trigger=server.stopping.wait))
    try:
        async with asyncio.timeout(20):
            while not task.done():
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    writer.close()
                    break
                await asyncio.sleep(0.01)
        yield server
    finally:
        await server.ended(task)
