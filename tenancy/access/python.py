"""A Python prompt inside a tenant's scope, with ``await`` at its top level."""

import ast
import asyncio
import code
import inspect
import signal
import sys
import threading
from concurrent.futures import CancelledError, Future
from types import CodeType, FunctionType
from typing import Any

import asyncpg

from tenancy.access.session import Inside
from tenancy.tenant import Tenant

_BANNER = """\
{prompt}: `conn` is asyncpg's connection, `tenant` the tenant; each statement is committed.
Try: await conn.fetch("SELECT current_user, current_schema()")"""


async def run(session: Inside, tenant: Tenant) -> int:
    """Prompt until the end of the input; return 0, or 1 where a statement of a script failed."""
    conn = await asyncpg.connect(
        session.dsn, server_settings={**session.options, "application_name": session.name}
    )
    loop = asyncio.get_running_loop()
    interactive = sys.stdin.isatty()
    prompt = _Prompt({"conn": conn, "tenant": tenant, "asyncio": asyncio}, loop)
    ended = asyncio.Event()

    def interact() -> None:
        prompt.until_end(_BANNER.format(prompt=session.prompt) if interactive else "")
        loop.call_soon_threadsafe(ended.set)

    # It waits for lines beside the loop, which keeps the connection alive; and it keeps no process.
    threading.Thread(target=interact, daemon=True).start()
    loop.add_signal_handler(signal.SIGINT, prompt.interrupt)
    try:
        await ended.wait()
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        await conn.close()
    return int(prompt.failed and not interactive)


class _Left(Exception):  # noqa: N818 - no error
    """``exit()`` was called: in the loop SystemExit would end the loop."""


class _Prompt(code.InteractiveConsole):
    """`code.InteractiveConsole`, whose statements run in *loop*."""

    def __init__(self, names: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(names)
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._loop = loop
        self._running: Future[None] | None = None
        self.failed = False

    def until_end(self, banner: str) -> None:
        """Prompt until the end of the input, or ``exit()``."""
        try:
            self.interact(banner, "")
        except _Left:
            return

    def interrupt(self) -> None:
        """Cancel the statement that is running."""
        if self._running is not None:
            self._running.cancel()

    def runcode(self, code: CodeType) -> None:
        """Run one statement; its exception is printed."""
        self._running = asyncio.run_coroutine_threadsafe(self._run(code), self._loop)
        try:
            self._running.result()
        except _Left:
            raise
        except CancelledError:
            self.write("KeyboardInterrupt\n")
        except Exception:  # noqa: BLE001 - as a prompt does
            self.failed = True
            self.showtraceback()
        finally:
            self._running = None

    def showsyntaxerror(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - code's own
        """Print what cannot be read."""
        self.failed = True
        super().showsyntaxerror(*args, **kwargs)

    def raw_input(self, prompt: str = "") -> str:
        """Read a line; nothing is prompted for where nobody types."""
        return super().raw_input(prompt if sys.stdin.isatty() else "")

    async def _run(self, code: CodeType) -> None:
        try:
            result = FunctionType(code, self.locals)()
            if inspect.iscoroutine(result):
                await result
        except SystemExit:
            raise _Left from None
