"""The options with which tenants are chosen and a run is led, as the commands take them."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from tenancy.commands.slugs import slugs
from tenancy.migrate.fleet.options import (
    GRACE_SECONDS,
    MOST_PARALLEL,
    PARALLEL,
    PARALLEL_CONCURRENT,
    InvalidOptionsError,
    Options,
)

Command = Callable[..., Any]


def _all(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorated(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorated


selecting = _all(
    click.option(
        "--tenant",
        "tenants",
        multiple=True,
        metavar="SLUG",
        shell_complete=slugs,
        help="Only this tenant, besides the catalog and the shared schema; repeatable.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="SLUG",
        shell_complete=slugs,
        help="Not this tenant; repeatable.",
    ),
    click.option(
        "--state",
        "states",
        multiple=True,
        metavar="STATE[,STATE]",
        help="Only tenants in these states; all but deleting if not given.",
    ),
    click.option("--at", metavar="VERSION", help="Only tenants that stand at this version."),
    click.option(
        "--behind", metavar="VERSION", help="Only tenants that stand before this version."
    ),
    click.option(
        "--where",
        multiple=True,
        metavar="KEY=VALUE",
        help="Only tenants whose settings say so; repeatable, and all must hold.",
    ),
)

waving = _all(
    click.argument("target", metavar="[VERSION]", required=False),
    click.option(
        "--canary",
        metavar="N|P%|SLUG,...",
        help="Who comes first and must not fail; 0: nobody. One of more than 20 if not given.",
    ),
    click.option("--wave-size", metavar="N|P%", help="Tenants in a wave; all if not given."),
    click.option(
        "--soak",
        "soak_seconds",
        type=click.FloatRange(0),
        default=0.0,
        metavar="SECONDS",
        help="How long to wait after the canary, and between waves.",
    ),
    click.option(
        "--parallel",
        type=click.IntRange(1, MOST_PARALLEL),
        default=PARALLEL,
        show_default=True,
        metavar="N",
        help="Tenants at a time; each takes one connection.",
    ),
    click.option(
        "--parallel-concurrent",
        type=click.IntRange(1, MOST_PARALLEL),
        default=PARALLEL_CONCURRENT,
        show_default=True,
        metavar="N",
        help="The same for files that are no single transaction.",
    ),
)

leading = _all(
    click.option(
        "--max-failures",
        metavar="N|P%",
        help="Stop when more fail. Three alike in a row stop it too, except with 100%.",
    ),
    click.option(
        "--grace",
        "grace_seconds",
        type=click.FloatRange(0),
        default=GRACE_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long tenants under way may go on after the first SIGTERM or Ctrl-C.",
    ),
    click.option(
        "--join", is_flag=True, help="Share the work of a run that is under way, of the same files."
    ),
    click.option(
        "--fingerprints/--no-fingerprints",
        default=None,
        help="Compare the shapes of all upgraded schemas, or of none; else of one in a hundred.",
    ),
    click.option("--strict-shape", is_flag=True, help="Another shape is a failure; compare all."),
)


def options(given: dict[str, Any]) -> Options:
    """Return what the command line says, as the library takes it.

    Raises:
        click.BadParameter: a value cannot be used; calls the options what the command does.
    """
    where = [word.partition("=") for word in given.pop("where", ())]
    for key, equals, _ in where:
        if not equals or not key:
            raise click.BadParameter("write KEY=VALUE", param_hint="'--where'")
    states = tuple(state.strip() for some in given.pop("states", ()) for state in some.split(","))
    named = {name: value for name, value in given.items() if value is not None}
    try:
        return Options(where={key: value for key, _, value in where}, states=states, **named)
    except InvalidOptionsError as error:
        raise click.BadParameter(error.words, param_hint=_called(error.options)) from error


def _called(fields: Sequence[str]) -> list[str]:
    """Return what the command under way calls these *fields* of `Options`."""
    context = click.get_current_context()
    params = {param.name: param for param in context.command.params}
    return [params[name].opts[0] for name in fields]
