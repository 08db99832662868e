"""The command that says who holds the migrator's locks, and ends one of them: unlock."""

from functools import partial

import click

from tenancy.exits import exit_codes
from tenancy.migrate.commands.common import (
    agree,
    answer,
    debug_option,
    json_option,
    print_lines,
    print_objects,
)
from tenancy.migrate.fleet.holders import Holder, holders, terminate


@click.command()
@click.option(
    "--terminate",
    "process",
    type=click.IntRange(1),
    metavar="PID",
    help="End this server process, if it is a migrator's.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@debug_option
def unlock(process: int | None, *, yes: bool, as_json: bool, debug: bool) -> None:
    """Say who holds the lock of the run or of a schema; with --terminate, end that session.

    A lock goes with its session, so none is left behind where no session is. What the ended one has
    not committed is rolled back; its runner connects again if it is alive: stop that first.

    Example: python -m tenancy.migrate unlock --terminate 4711
    """
    with exit_codes(debug=debug):
        if process is None:
            found = answer(holders)
            if as_json:
                print_objects(map(_object, found))
            else:
                print_lines(_lines(found))
            return
        agree(f"End server process {process}?", yes=yes)
        answer(partial(terminate, process=process))
        click.echo(f"server process {process} has ended", err=True)


def _lines(found: list[Holder]) -> list[str]:
    lines = []
    for one in found:
        since = f", connected since {one.since:%Y-%m-%d %H:%M:%S %Z}" if one.since else ""
        state = f", {one.state}" if one.state else ""
        words = f"{one.application or 'a session'}, server process {one.process}{since}{state}"
        lines.append(f"{one.what}: {words}{'' if one.ours else '; no migrator of ours'}")
    return lines or ["no lock is held"]


def _object(one: Holder) -> dict[str, object]:
    return {
        "event": "lock",
        "lock": one.what,
        "process": one.process,
        "application": one.application,
        "since": one.since.isoformat() if one.since else None,
        "state": one.state,
        "ours": one.ours,
    }
