"""Creations that go wrong at a chosen statement: an error, a cancellation, a back end or a process
that is killed, just before the server gets the statement or just after it has answered."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import asyncpg

from support.creations import create
from support.processes import environment
from tenancy import settings as settings_module
from tenancy.settings import Settings

# Every statement goes through one of them.
_WAYS = ("execute", "_execute", "_executemany", "copy_from_query")


class InjectedError(Exception):
    """What a creation is to fail with."""


Act = Callable[[asyncpg.Connection], Awaitable[None]]


@dataclass
class Fault:
    """What happens, and when.

    Attributes:
        act: is called with the connection.
        at: the number of the statement, from 1; 0: never.
        after: once the server has answered it.
        count: statements so far.
    """

    act: Act
    at: int
    after: bool = False
    count: int = 0


_fault: ContextVar[Fault | None] = ContextVar("fault", default=None)


@contextmanager
def counted() -> Iterator[None]:
    """Let statements of all connections meet the fault of their task's context."""
    real = {name: getattr(asyncpg.Connection, name) for name in _WAYS}

    def wrapped(name: str) -> Callable[..., Awaitable[Any]]:
        async def statement(self: asyncpg.Connection, *args: Any, **kwargs: Any) -> Any:
            fault = _fault.get()
            if fault is None:
                return await real[name](self, *args, **kwargs)
            fault.count += 1
            number = fault.count
            if number == fault.at and not fault.after:
                await fault.act(self)
            answer = await real[name](self, *args, **kwargs)
            if number == fault.at and fault.after:
                await fault.act(self)
            return answer

        return statement

    for name in _WAYS:
        setattr(asyncpg.Connection, name, wrapped(name))
    try:
        yield
    finally:
        for name, method in real.items():
            setattr(asyncpg.Connection, name, method)


async def attempt(fault: Fault, settings: Settings, slug: str, *domains: str) -> bool:
    """Make a tenant with *fault* on the way, its slug being the key; return whether it was told."""

    async def one() -> None:
        _fault.set(fault)
        await create(settings, slug, *domains, key=slug)

    task = asyncio.create_task(one())
    await asyncio.wait([task])
    return not task.cancelled() and task.exception() is None


async def raising(_: asyncpg.Connection) -> None:
    """Fail in our own code."""
    raise InjectedError


async def cancelling(_: asyncpg.Connection) -> None:
    """Cancel the task that is about to await an answer, or has it."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def dying(_: asyncpg.Connection) -> None:
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def killing(superuser_url: str) -> Act:
    """Kill the back end, and wait until it is gone."""

    async def act(conn: asyncpg.Connection) -> None:
        _fault.set(None)
        pid = conn.get_server_pid()
        other = await asyncpg.connect(superuser_url)
        try:
            await other.execute(f"SELECT pg_terminate_backend({pid})")
            gone = f"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})"
            async with asyncio.timeout(30):
                while not await other.fetchval(gone):  # noqa: ASYNC110 - the server sets no event
                    await asyncio.sleep(0.005)
        finally:
            await other.close()

    return act


class Zygote:
    """A process that forks one for each creation, which is killed on its way.

    Importing all of it takes longer than the creation.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def attempt(self, slug: str, *domains: str, at: int, after: bool) -> bool:
        """Make a tenant in a new process that dies at a statement; whether it came to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        words = [str(at), str(int(after)), slug, *domains]
        self._process.stdin.write(f"{' '.join(words)}\n".encode())
        async with asyncio.timeout(60):
            answer = (await self._process.stdout.readline()).decode().strip()
        assert answer in ("0", "-9"), answer
        return answer == "0"


@asynccontextmanager
async def zygote(settings: Settings) -> AsyncIterator[Zygote]:
    """Start one."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.faulty"),
        env=environment(settings, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Zygote(process)
    finally:
        process.kill()
        await process.communicate()


def _forked(at: int, slug: str, *domains: str, after: bool) -> int:
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with counted():
        told = asyncio.run(attempt(Fault(dying, at, after), settings_module.load(), slug, *domains))
    os._exit(0 if told else 1)


if __name__ == "__main__":
    for line in sys.stdin:
        number, later, *names = line.split()
        print(_forked(int(number), *names, after=later == "1"), flush=True)
