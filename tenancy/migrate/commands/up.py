"""The commands that migrate: up, resume."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import click

from tenancy import migrate
from tenancy.exits import exit_codes
from tenancy.migrate.commands import rollout
from tenancy.migrate.commands.common import (
    answer,
    debug_option,
    json_option,
    print_lines,
    print_objects,
    stopping,
)
from tenancy.migrate.commands.display import shown
from tenancy.migrate.report import output
from tenancy.migrate.report.objects import report_object
from tenancy.migrate.report.outcomes import Report
from tenancy.settings import Settings


@click.command()
@rollout.waving
@rollout.selecting
@rollout.leading
@json_option
@debug_option
def up(*, as_json: bool, debug: bool, **given: Any) -> None:  # noqa: ANN401 - the options
    """Apply what is pending: catalog, shared schema, tenants, up to VERSION or the newest file.

    Can be ended at any time, by kill -9 too: no schema is left half-way, and the next run goes on.

    Example: python -m tenancy.migrate up --parallel 8 --canary 1% --wave-size 500 --soak 60
    """

    async def run(settings: Settings, **watched: Any) -> Report:  # noqa: ANN401 - of `migrate`
        return await migrate.migrate(settings, rollout.options(given), **watched)

    _run(run, as_json=as_json, debug=debug)


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False, type=click.UUID)
@json_option
@debug_option
def resume(run_id: UUID | None, *, as_json: bool, debug: bool) -> None:
    """Go on with RUN, or with the last one that was killed, interrupted or stopped.

    With its options, its waves and its order; refused where the files have changed since.

    Example: python -m tenancy.migrate resume
    """

    async def run(settings: Settings, **watched: Any) -> Report:  # noqa: ANN401 - of `resume`
        return await migrate.resume(settings, run_id, **watched)

    _run(run, as_json=as_json, debug=debug)


def _run(run: Callable[..., Awaitable[Report]], *, as_json: bool, debug: bool) -> None:
    signals: list[int] = []

    async def watched(settings: Settings) -> Report:
        with stopping(signals) as stop:
            async with shown(as_json=as_json) as observe:
                return await run(settings, stop=stop, observe=observe)

    with exit_codes(signals, debug=debug):
        report = answer(watched)
        if as_json:
            print_objects([report_object(report)])
        else:
            print_lines(output.report_lines(report))
        sys.exit(report.exit_code(*signals[:1]))
