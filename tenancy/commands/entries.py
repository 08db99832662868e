"""How entries of the audit are asked for and shown."""

import json
from collections.abc import Sequence

import click

from tenancy.commands.common import print_table
from tenancy.provision.audit import PAGE, Entry

MOST = 10_000
_COLUMNS = ("id", "at", "actor", "from", "did", "to", "outcome", "why")

limit_option = click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=PAGE,
    show_default=True,
    metavar="N",
    help="Entries at most.",
)
before_option = click.option(
    "--before", type=int, metavar="ID", help="Older ones: the last id of the page before."
)


def print_entries(found: Sequence[Entry], *, limit: int, as_json: bool) -> None:
    """Print *found*, and how to ask for those that come after."""
    if as_json:
        for entry in found:
            click.echo(json.dumps(entry.as_json()))
    else:
        print_table(_COLUMNS, map(_row, found))
    if len(found) == limit:
        click.echo(f"older ones: --before {found[-1].id}", err=True)


def _row(entry: Entry) -> tuple[str, ...]:
    return (
        str(entry.id),
        f"{entry.at:%Y-%m-%d %H:%M:%S%z}",
        entry.actor,
        entry.source,
        entry.action,
        entry.slug or "-",
        f"{entry.outcome} ({entry.code})" if entry.code else str(entry.outcome),
        entry.reason or "-",
    )
