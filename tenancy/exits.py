"""How a command ends: one clear line on stderr where it fails, and an exit code."""

import asyncio
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum

import asyncpg
import click

from tenancy.errors import TenancyError
from tenancy.faults import LOST, reason


class Exit(IntEnum):
    """Exit codes of all commands; an interrupted one ends with 128 + the signal's number."""

    CURRENT = 0
    FAULT = 1
    USAGE = 2
    FAILED = 3
    ENVIRONMENT = 4
    PENDING = 5
    REFUSED = 6
    LEAK = 7
    STOPPED = 7  # a migration, by its rule for failures
    UNCHECKED = 8
    LINT = 8  # of files that are linted
    LOCKED = 75  # EX_TEMPFAIL, sysexits.h


_UNFIT = (
    *LOST,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
)


@contextmanager
def exit_codes(signals: Sequence[int] = (), *, debug: bool = False) -> Iterator[None]:
    """End the process with one clear line and the right code where the block fails.

    Args:
        signals: those received so far; the first one makes the code of an interrupted command.
        debug: print the traceback too.
    """
    try:
        yield
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit(128 + (signals[0] if signals else signal.SIGINT))
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise  # click's own words and code
    except Exception as error:  # noqa: BLE001 - the last one to see it
        if isinstance(error, BrokenPipeError) and _unread():
            _fall_silent()
            sys.exit(128 + signal.SIGPIPE)
        if debug:
            traceback.print_exc()
        code = _code(error)
        fault = f"a fault of ours, {type(error).__name__}: " if code is Exit.FAULT else ""
        click.echo(f"tenancy: {fault}{_words(error)}", err=True)
        sys.exit(code)


@contextmanager
def cancelled_by(
    signals: list[int], numbers: Sequence[signal.Signals] = (signal.SIGTERM,)
) -> Iterator[None]:
    """Cancel this task at a signal, as Ctrl-C does, so that it can still tidy up."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def told(number: int) -> None:
        signals.append(number)
        if task is not None:
            task.cancel()

    with suppress(RuntimeError, ValueError):  # in a thread no signal arrives
        for number in numbers:
            loop.add_signal_handler(number, told, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _unread() -> bool:
    """Whether stdout is a pipe that nobody reads any more, such as that to ``head``."""
    look = select.poll()
    look.register(sys.stdout.fileno(), 0)
    return any(state & select.POLLERR for _, state in look.poll(0))


def _fall_silent() -> None:
    with suppress(BrokenPipeError):
        click.echo("tenancy: nobody reads the output any more", err=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # the interpreter writes what is left at its end
        os.dup2(nowhere, stream.fileno())


def _code(error: Exception) -> Exit:
    if isinstance(error, TenancyError):
        return Exit(error.exit_code)
    return Exit.ENVIRONMENT if isinstance(error, _UNFIT) else Exit.FAULT


def _words(error: Exception) -> str:
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"{reason(error)}: is TENANCY_ADMIN_DATABASE_URL the address of the owner?"
    return reason(error) if isinstance(error, asyncpg.PostgresError | OSError) else str(error)
