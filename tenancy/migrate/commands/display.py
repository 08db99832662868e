"""A run while it is under way: bars on a terminal, else a line now and then; both on stderr."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from time import monotonic

import click

from tenancy.migrate.report.events import RunEvent
from tenancy.migrate.report.objects import event_object
from tenancy.migrate.report.progress import Progress

LINE_SECONDS = 10.0

Observe = Callable[[RunEvent], None]


@contextlib.asynccontextmanager
async def shown(*, as_json: bool) -> AsyncIterator[Observe]:
    """Yield what shows the events that it is given; with *as_json* on stdout too, as objects."""
    progress = Progress(monotonic())

    def observe(event: RunEvent) -> None:
        progress.observe(event, monotonic())
        told = event_object(event) if as_json else None
        if told is not None:
            click.echo(json.dumps(told))

    if sys.stderr.isatty():
        # A tenth of a second, which a run with nothing to do would not want to wait for.
        from tenancy.migrate.commands.bars import bars  # noqa: PLC0415

        with bars(progress):
            yield observe
        return
    teller = asyncio.create_task(_tell(progress))
    try:
        yield observe
    finally:
        teller.cancel()
        await asyncio.gather(teller, return_exceptions=True)


async def _tell(progress: Progress) -> None:
    while True:
        await asyncio.sleep(LINE_SECONDS)
        now = monotonic()
        click.echo(f"{now - progress.started:.0f} s: {progress.line(now)}", err=True)
