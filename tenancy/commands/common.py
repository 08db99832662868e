"""What the commands share."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table

from tenancy import deployment, embedded, provision
from tenancy.exits import cancelled_by, exit_codes
from tenancy.provision import Administrator, Profile
from tenancy.settings import Settings

Result = TypeVar("Result")

_ENDLESS = 10_000

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
reason_option = click.option("--reason", metavar="WORDS", help="For the audit.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask to type the slug; for scripts.")


def confirmed(slug: str, yes: bool) -> None:  # noqa: FBT001 - what --yes gave
    """Pass if somebody types *slug*, or has said ``--yes`` beforehand.

    Raises:
        click.UsageError: something else was typed, or nobody is there to type.
    """
    if yes:
        return
    try:
        typed = click.prompt(f"Type {slug} to go on", default="", show_default=False, err=True)
    except click.Abort as error:
        raise click.UsageError("nobody answered, nothing was changed: add --yes") from error
    if typed != slug:
        raise click.UsageError(f"that is not {slug}: nothing was changed")


def as_administrator(
    operation: Callable[[Administrator], Awaitable[Result]], *, reason: str | None = None
) -> Result:
    """Run *operation* with an administrator of the configured database; return what it does.

    Args:
        operation: what is to be done.
        reason: why, for the audit.
    """

    async def run(settings: Settings) -> Result:
        async with provision.administrator(settings) as admin:
            admin.reason = reason
            return await operation(admin)

    return with_settings(run)


def with_settings(operation: Callable[[Settings], Awaitable[Result]]) -> Result:
    """Run *operation* in the configured deployment; return what it does.

    SIGTERM cancels it, as Ctrl-C does, so that it can tidy up, and the audit is told.
    """
    signals: list[int] = []

    async def run(settings: Settings) -> Result:
        with cancelled_by(signals):
            return await operation(settings)

    with exit_codes(signals), embedded.configured(deployment.settings()) as configured:
        return asyncio.run(run(configured))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print *rows* for people; whole, where nobody looks but a pipe."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_printable(click.unstyle(cell)) for cell in row))
    width = None if sys.stdout.isatty() else _ENDLESS
    Console(width=width, markup=False, highlight=False, soft_wrap=width is not None).print(table)


def _printable(text: str) -> str:
    """Return *text* with what a terminal would obey written out: others have typed some of it."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def print_one(profile: Profile, *, as_json: bool) -> None:
    """Print *profile*, for people or for programs."""
    members = profile.as_json()
    if as_json:
        click.echo(json.dumps(members))
        return
    for name, value in members.items():
        text = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name:<25} {text or '-'}")
