"""`python -m tenancy leakcheck`."""

import asyncio
import importlib
import json
import signal
import sys
from pathlib import Path
from typing import cast

import click

from tenancy.errors import SettingsError
from tenancy.exits import exit_codes
from tenancy.leakcheck.options import Layout, Options, Phase, Setup
from tenancy.leakcheck.report import Report
from tenancy.leakcheck.run import check

_FILE = click.Path(path_type=Path)
_LAYOUTS = click.Choice([str(each) for each in Layout])
_PHASES = click.Choice([str(each) for each in Phase])


@click.command()
@click.argument("application")
@click.option(
    "--server",
    metavar="URL",
    help="PostgreSQL to make the throw-away database on, as a superuser or a login with CREATEDB "
    "and CREATEROLE [default: an embedded one].",
)
@click.option(
    "--tenants",
    default="leakchecka,leakcheckb",
    show_default=True,
    metavar="A,B",
    help="The slugs of the two.",
)
@click.option(
    "--layout",
    type=_LAYOUTS,
    default=str(Layout.TENANCY),
    show_default=True,
    help="Whose scopes: ours, or your own over a schema each, or over one table for all.",
)
@click.option(
    "--sql",
    multiple=True,
    type=_FILE,
    help="Your tables, for --layout schemas or rows; repeatable.",
)
@click.option("--tenant-column", default="tenant_id", show_default=True, help="Of --layout rows.")
@click.option(
    "--seed-sql", type=_FILE, help="Run once for each tenant, with :'tenant' and :'canary'."
)
@click.option(
    "--setup", metavar="MODULE:FUNCTION", help="Awaited with a connection and both tenants' names."
)
@click.option(
    "--host", default="", help="Host header with {tenant} [default: {tenant}.<base domain>]."
)
@click.option("--prefix", default="", help="Put before each path, such as /{tenant}.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="With {tenant}.")
@click.option(
    "--request",
    "requests",
    multiple=True,
    metavar="'METHOD /path [JSON]'",
    help="A further view, with {canary} and path parameters such as {note_id}; repeatable.",
)
@click.option("--requests-file", type=_FILE, help="One --request a line.")
@click.option(
    "--openapi",
    default="/openapi.json",
    show_default=True,
    metavar="PATH",
    help="Where it describes its views.",
)
@click.option("--read-only", is_flag=True, help="Send nothing but GET.")
@click.option(
    "--all-views", is_flag=True, help="Fail unless every view answered both tenants well."
)
@click.option("--seed", type=int, help="Run the same requests again.")
@click.option(
    "--requests",
    "count",
    default=400,
    show_default=True,
    type=click.IntRange(0),
    help="How many to send.",
)
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    help="At most, for all of it.",
)
@click.option("--timeout", "timeout_seconds", default=5.0, show_default=True, help="Of one answer.")
@click.option(
    "--pool", "pool_size", default=1, show_default=True, type=click.IntRange(1, 100),
    help="Connections of each pool; 1 makes both tenants share one.",
)  # fmt: skip
@click.option(
    "--skip",
    "skipped",
    multiple=True,
    type=_PHASES,
    help="Leave this part out; repeatable.",
)
@click.option(
    "--env", "environment", multiple=True, metavar="NAME",
    help="A variable that your application reads its database's address from.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--verbose", is_flag=True, help="Show the application's log.")
def leakcheck(application: str, *, as_json: bool, **given: object) -> None:
    """Run APPLICATION (module:expression) as two tenants, and report whatever crosses.

    On a throw-away database: no data of yours is touched. Exit code 0: clean; 7: something crossed;
    8: nothing crossed, but nothing or too little was checked.

    Example: python -m tenancy leakcheck "tenancy.demo:create_app()"
    """
    server = cast("str | None", given.pop("server"))
    signals: list[int] = []
    with exit_codes(signals):
        report = asyncio.run(_run(application, _options(given), server, signals))
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        for line in report.lines():
            click.echo(line)
    sys.exit(report.exit_code)


async def _run(
    application: str, options: Options, server: str | None, signals: list[int]
) -> Report:
    """Check until done, or until a signal: what was made for it is dropped then too."""
    task = asyncio.current_task()

    def interrupt(number: int) -> None:
        signals.append(number)
        if task is not None and len(signals) == 1:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    return await check(application, options, server=server)


def _options(given: dict[str, object]) -> Options:
    names = tuple(str(given["tenants"]).split(","))
    if len(names) != 2:  # noqa: PLR2004 - A,B
        raise click.UsageError("--tenants takes two names: A,B")
    listed = cast("Path | None", given.pop("requests_file"))
    requests = list(cast("tuple[str, ...]", given.pop("requests")))
    if listed is not None:
        requests += _lines(listed)
    return Options(
        **{  # type: ignore[arg-type] # click has checked them
            **{name: value for name, value in given.items() if value is not None},
            "tenants": names,
            "layout": Layout(str(given["layout"])),
            "headers": tuple(map(_header, cast("tuple[str, ...]", given["headers"]))),
            "requests": tuple(requests),
            "skipped": frozenset(map(Phase, cast("tuple[str, ...]", given["skipped"]))),
            "setup": _setup(cast("str | None", given["setup"])),
        }
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"--header takes 'NAME: VALUE', not {text!r}")
    return name.strip(), value.strip()


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _setup(name: str | None) -> Setup | None:
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        return cast("Setup", getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"--setup {name} cannot be loaded: {error}") from error
