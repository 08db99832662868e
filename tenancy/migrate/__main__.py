"""``python -m tenancy.migrate``: up, plan, status."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import click

from tenancy import embedded, migrate
from tenancy import settings as settings_module
from tenancy.exits import exit_codes
from tenancy.migrate import output
from tenancy.migrate.fleet import GRACE_SECONDS, PARALLEL
from tenancy.migrate.progress import Bars
from tenancy.migrate.records import Survey
from tenancy.migrate.report import Report, Result, survey_exit
from tenancy.settings import Settings

Answer = TypeVar("Answer")


class _UpByDefault(click.Group):
    """A group whose command `up` may be left out, options and all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = bool(set(args[:1]) & set(self.get_help_option_names(ctx)))
        if not args or (args[0].startswith("-") and not asks_for_help):
            args = ["up", *args]
        return super().parse_args(ctx, args)


_tenants = click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="SLUG",
    help="Only this tenant, besides the catalog and the shared schema; repeatable.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
_debug = click.option("--debug", is_flag=True, help="Show the traceback of an error.")


@click.group("migrate", cls=_UpByDefault, context_settings={"help_option_names": ["-h", "--help"]})
def migrate_group() -> None:
    """Bring the schemas of all tenants to what the files in TENANCY_SQL_DIR say.

    No command: up. Results go to stdout, everything else to stderr.

    \b
    Exit codes: 0 all at the target, 1 a fault of the migrator, 2 usage or settings,
    3 some tenants failed, 4 the database cannot be reached or used, 5 pending (plan --check),
    6 refused, 75 another run holds the lock, 130 and 143 interrupted.
    """  # noqa: D301 - click keeps the lines after the character itself


@migrate_group.command()
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
@_tenants
@_as_json
@_debug
def up(
    parallel: int, grace: float, tenants: tuple[str, ...], *, as_json: bool, debug: bool
) -> None:
    """Apply what is pending: catalog, shared schema, tenants.

    Can be ended at any time, by kill -9 too: no schema is left half-way, and the next run goes on.

    Example: python -m tenancy.migrate up --parallel 8
    """
    signals: list[int] = []

    async def run(settings: Settings) -> Report:
        with _stopping(signals) as stop, Bars() as bars:
            return await migrate.migrate(
                settings,
                parallel=parallel,
                tenants=tenants,
                grace_seconds=grace,
                stop=stop,
                watch=_print_result if as_json else bars.show,
            )

    with exit_codes(signals, debug=debug):
        report = _answer(run)
        lines = (
            [json.dumps(output.report_object(report))] if as_json else output.report_lines(report)
        )
        _print(lines)
        sys.exit(report.exit_code(*signals[:1]))


@migrate_group.command()
@_tenants
@click.option("--check", is_flag=True, help="Exit with 5 if anything is pending.")
@_as_json
@_debug
def plan(tenants: tuple[str, ...], *, check: bool, as_json: bool, debug: bool) -> None:
    """Say what `up` would apply, and change nothing.

    Example: python -m tenancy.migrate plan --check
    """
    with exit_codes(debug=debug):
        found = _answer(partial(migrate.plan, tenants=tenants))
        _print(_objects(found) if as_json else output.plan_lines(found))
        sys.exit(survey_exit(found, check=check))


@migrate_group.command()
@_tenants
@_as_json
@_debug
def status(tenants: tuple[str, ...], *, as_json: bool, debug: bool) -> None:
    """Say who is behind, since when and why; how many stand where. Changes nothing.

    Example: python -m tenancy.migrate status --json
    """
    with exit_codes(debug=debug):
        found = _answer(partial(migrate.status, tenants=tenants))
        _print(_objects(found) if as_json else output.status_lines(found))


def _answer(question: Callable[[Settings], Coroutine[Any, Any, Answer]]) -> Answer:
    with embedded.configured(settings_module.load()) as settings:
        return asyncio.run(question(settings))


@contextlib.contextmanager
def _stopping(signals: list[int]) -> Iterator[asyncio.Event]:
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


def _objects(found: Survey) -> Iterator[str]:
    for step in found.steps:
        yield json.dumps(output.step_object(step))
    yield json.dumps(output.survey_object(found))


def _print_result(result: Result, _left: int) -> None:
    _print([json.dumps(output.result_object(result))])


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


if __name__ == "__main__":
    migrate_group(prog_name="python -m tenancy.migrate")
