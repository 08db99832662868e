"""`python -m tenancy maintain`."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator

import click

from tenancy import deployment, embedded
from tenancy.commands.common import json_option
from tenancy.exits import Exit, cancelled_by, exit_codes
from tenancy.provision import maintenance
from tenancy.provision.maintenance import Done

EVERY_SECONDS = 60.0


@click.command()
@click.option(
    "--every",
    "every_seconds",
    type=click.FloatRange(min=0.1),
    default=EVERY_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="The pause between two rounds.",
)
@click.option("--once", is_flag=True, help="One round, as for cron; exit code 3 if a task fails.")
@json_option
def maintain(every_seconds: float, *, once: bool, as_json: bool) -> None:
    """Do what falls due, again and again: purges above all; the guide has the list.

    One such process is enough for a deployment; a second one does no harm. SIGTERM or Ctrl-C ends
    it at once: the next round goes on where it was.
    Example: python -m tenancy maintain --once
    """
    signals: list[int] = []
    with embedded.configured(deployment.settings()) as configured, exit_codes(signals):
        rounds = maintenance.once(configured)
        if not once:
            rounds = maintenance.forever(configured, every_seconds)
        try:
            failed = asyncio.run(_printed(rounds, signals, once=once, as_json=as_json))
        except asyncio.CancelledError:
            if once:
                raise
            return  # it was told to end, and has done nothing else all the time
    if failed:
        sys.exit(Exit.FAILED)


async def _printed(
    rounds: AsyncIterator[Done], signals: list[int], *, once: bool, as_json: bool
) -> bool:
    """Print what comes of *rounds* until a signal ends them; return whether a task failed."""
    failed = False
    with cancelled_by(signals, (signal.SIGTERM, signal.SIGINT)):
        async for done in rounds:
            failed = failed or done.code is not None
            if as_json:
                click.echo(json.dumps(done.as_json()))
            elif done.message is not None:
                click.echo(f"{done.task}: {done.message}", err=True)
            elif once or done.count:
                click.echo(f"{done.task}: {done.count} done")
    return failed
