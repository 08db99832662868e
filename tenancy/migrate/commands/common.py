"""What the commands share: options, how a question is asked, how it is stopped."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import click

from tenancy import deployment, embedded
from tenancy.settings import Settings

Answer = TypeVar("Answer")

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
debug_option = click.option("--debug", is_flag=True, help="Show the traceback of an error.")


def answer(question: Callable[[Settings], Coroutine[Any, Any, Answer]]) -> Answer:
    """Return what *question* answers in the configured deployment."""
    with embedded.configured(deployment.settings()) as settings:
        return asyncio.run(question(settings))


@contextlib.contextmanager
def stopping(signals: list[int]) -> Iterator[asyncio.Event]:
    """Yield an event set by the first SIGTERM or SIGINT; the second one cancels this task."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stop = asyncio.Event()

    def told(number: int) -> None:
        signals.append(number)
        if stop.is_set() and task is not None:
            task.cancel()
        else:
            click.echo("stopping: waiting for those under way, once more cancels them", err=True)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def agree(question: str, *, yes: bool) -> None:
    """Pass if somebody says yes to *question*, or has said so beforehand.

    Raises:
        click.UsageError: the answer is no, or nobody is there to give one.
    """
    if yes:
        return
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort as error:
        raise click.UsageError("nobody answered, nothing was changed: add --yes") from error
    if not agreed:
        raise click.UsageError("nothing was changed")


def print_objects(objects: Iterable[Mapping[str, object]]) -> None:
    """Print results for programs: one JSON object per line."""
    print_lines(map(json.dumps, objects))


def print_lines(lines: Iterable[str]) -> None:
    """Print results for people; they go to stdout too."""
    for line in lines:
        click.echo(line)
