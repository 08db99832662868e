"""The command that migrates: up."""

import json
import sys

import click

from tenancy import migrate
from tenancy.exits import exit_codes
from tenancy.migrate.commands.common import (
    answer,
    debug_option,
    json_option,
    print_lines,
    stopping,
    tenants_option,
)
from tenancy.migrate.fleet.options import GRACE_SECONDS, PARALLEL
from tenancy.migrate.fleet.progress import Bars
from tenancy.migrate.report import output
from tenancy.migrate.report.outcomes import Report, Result
from tenancy.settings import Settings


@click.command()
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=PARALLEL,
    show_default=True,
    metavar="N",
    help="Tenants at a time; each takes one connection.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=GRACE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long tenants under way may go on after the first SIGTERM or Ctrl-C.",
)
@tenants_option
@json_option
@debug_option
def up(
    parallel: int, grace: float, tenants: tuple[str, ...], *, as_json: bool, debug: bool
) -> None:
    """Apply what is pending: catalog, shared schema, tenants.

    Can be ended at any time, by kill -9 too: no schema is left half-way, and the next run goes on.

    Example: python -m tenancy.migrate up --parallel 8
    """
    signals: list[int] = []

    async def run(settings: Settings) -> Report:
        with stopping(signals) as stop, Bars() as bars:
            return await migrate.migrate(
                settings,
                parallel=parallel,
                tenants=tenants,
                grace_seconds=grace,
                stop=stop,
                watch=_print_result if as_json else bars.show,
            )

    with exit_codes(signals, debug=debug):
        report = answer(run)
        lines = (
            [json.dumps(output.report_object(report))] if as_json else output.report_lines(report)
        )
        print_lines(lines)
        sys.exit(report.exit_code(*signals[:1]))


def _print_result(result: Result, _left: int) -> None:
    print_lines([json.dumps(output.result_object(result))])
