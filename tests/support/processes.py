"""The commands, as the processes a user starts; and a client that speaks raw HTTP to them."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tenancy import Settings

START_SECONDS = 60


def environment(settings: Settings | None = None, **more: str) -> dict[str, str]:
    """What a command of the tests is given: nothing of ours but what the test says."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TENANCY_")}
    if settings is not None:
        for name in settings.model_fields_set:
            value = getattr(settings, name)
            if value is None:
                continue
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            elif isinstance(value, tuple):
                value = ",".join(value)
            if value is not None:
                env[f"TENANCY_{name.upper()}"] = str(value)
    return {**env, "PYTHONUNBUFFERED": "1", **more}


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


async def started(
    *command: str, env: Mapping[str, str], cwd: Path | None = None
) -> asyncio.subprocess.Process:
    """Start ``python`` with *command*."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(
    *command: str, env: Mapping[str, str], cwd: Path | None = None, seconds: float = START_SECONDS
) -> Result:
    """Run ``python`` with *command* to its end."""
    process = await started(*command, env=env, cwd=cwd)
    out, err = await asyncio.wait_for(process.communicate(), seconds)
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


@dataclass
class Served:
    """A server process and the port it listens on."""

    process: asyncio.subprocess.Process
    port: int
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it and its workers by kill -9, as one."""
        os.killpg(self.process.pid, signal.SIGKILL)

    async def ended(self, seconds: float = 30) -> int:
        return await asyncio.wait_for(self.process.wait(), seconds)

    async def get(self, path: str, host: str = "acme.localhost", **kwargs: Any) -> tuple[int, Any]:
        return await http(self.port, "GET", path, host, **kwargs)

    async def post(self, path: str, body: object, host: str = "acme.localhost") -> tuple[int, Any]:
        return await http(self.port, "POST", path, host, body)


async def http(
    port: int, method: str, path: str, host: str, body: object = None
) -> tuple[int, Any]:
    """One request on a connection of its own; the answer's status and JSON, or bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request(method, path, host, body))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        content = await reader.read()
        whole = re.search(r"content-length: (\d+)", head)
        if whole and len(content) < int(whole[1]):  # the server was killed in the middle of it
            raise asyncio.IncompleteReadError(content, int(whole[1]))
    finally:
        writer.close()
    status = int(head.split(" ", 2)[1])
    return status, json.loads(content) if "json" in head else content


def request(method: str, path: str, host: str, body: object = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode() + content


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def served(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None
) -> AbstractAsyncContextManager[Served]:
    """``python -m tenancy serve``."""
    return _started(["-m", "tenancy", "serve", *arguments, "--port"], "", env, cwd)


def panel(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None
) -> AbstractAsyncContextManager[Served]:
    """``python -m tenancy admin``."""
    return _started(["-m", "tenancy", "admin", *arguments, "--port"], "", env, cwd)


def hypercorn(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None, ready: str = "/readyz"
) -> AbstractAsyncContextManager[Served]:
    """The production command line; *ready* answers below 500 once it serves."""
    return _started(["-m", "hypercorn", *arguments, "--bind"], "127.0.0.1:", env, cwd, ready)


@asynccontextmanager
async def _started(
    command: Sequence[str],
    address: str,
    env: Mapping[str, str],
    cwd: Path | None,
    ready: str = "/readyz",
) -> AsyncIterator[Served]:
    """Run a server in a process group of its own, from its being ready to its end."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        f"{address}{port}",
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    server = Served(process, port)
    readers = [
        asyncio.create_task(_collect(process.stdout, server.out)),
        asyncio.create_task(_collect(process.stderr, server.err)),
    ]
    try:
        await asyncio.wait_for(_until_ready(server, ready), START_SECONDS)
        yield server
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.gather(*readers)


async def _until_ready(server: Served, path: str) -> None:
    while server.process.returncode is None:
        try:
            status, _ = await server.get(path, "acme.example.com")
        except (OSError, asyncio.IncompleteReadError):
            status = 0
        if 0 < status < 500:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"the server ended: {''.join(server.err)}")


async def _collect(stream: asyncio.StreamReader | None, into: list[str]) -> None:
    assert stream is not None
    async for line in stream:
        into.append(line.decode())  # noqa: PERF401 - read by others while it grows
