"""The command that compares the tenants' schemas: verify."""

import sys
from functools import partial
from typing import Self

import click

from tenancy import migrate
from tenancy.commands.slugs import slugs
from tenancy.exits import exit_codes
from tenancy.migrate.commands.common import (
    answer,
    debug_option,
    json_option,
    print_lines,
    print_objects,
)
from tenancy.migrate.upkeep import telling
from tenancy.migrate.upkeep.verify import PARALLEL


@click.command()
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="SLUG",
    shell_complete=slugs,
    help="Only it; repeatable.",
)
@click.option(
    "--against",
    metavar="SLUG|canary|files",
    help="Whom they are to be like: a tenant, the one the last run began with, or a schema made of "
    "the files. Without it: what most of them are like.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=PARALLEL,
    show_default=True,
    metavar="N",
    help="Connections.",
)
@click.option("--store", is_flag=True, help="Note the fingerprints in the ledger.")
@json_option
@debug_option
def verify(  # noqa: PLR0913 - its options
    tenants: tuple[str, ...],
    *,
    against: str | None,
    parallel: int,
    store: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Compare the schemas of tenants that have the same files, and say how they differ.

    Names invalid indexes too, tables that others own, and what names another tenant's schema.
    Changes no tenant. Exits with 3 where one differs or has a fault.

    Example: python -m tenancy.migrate verify --against files
    """
    with exit_codes(debug=debug):
        with _Counted() as watch:
            ask = partial(
                migrate.verify,
                tenants=tenants,
                against=against,
                parallel=parallel,
                store=store,
                watch=watch,
            )
            found = answer(ask)
        if as_json:
            print_objects(telling.objects(found))
        else:
            print_lines(telling.lines(found))
        sys.exit(found.exit_code)


class _Counted:
    """What counts schemas in one line of a terminal, which is empty afterwards."""

    def __init__(self) -> None:
        self._schemas = 0
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._print("\r\033[K")

    def __call__(self, more: int) -> None:
        self._schemas += more
        self._print(f"\r{self._schemas:,} schemas looked at")

    def _print(self, line: str) -> None:
        if self._shown:
            click.echo(line, err=True, nl=False)
