"""The command that takes over schemas which were there before: baseline."""

import sys
from functools import partial

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


@click.command()
@click.argument("version")
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="SLUG",
    shell_complete=slugs,
    help="Its schema; repeatable.",
)
@click.option(
    "--all", "everybody", is_flag=True, help="Every tenant of which the ledger has nothing."
)
@click.option("--unproven", is_flag=True, help="Do not compare the schemas with the files.")
@json_option
@debug_option
def baseline(  # noqa: PLR0913 - its options
    version: str,
    *,
    tenants: tuple[str, ...],
    everybody: bool,
    unproven: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Mark schemas as having all files up to VERSION, and run none of them.

    Each is compared first with a schema that is made of those files and dropped again; one that
    differs is left alone, and how is told. Exits with 6 where one was. Again changes nothing.

    Example: python -m tenancy.migrate baseline 0042 --tenant acme
    """
    if bool(tenants) is everybody:
        raise click.UsageError("give --tenant or --all, one of the two")
    ask = partial(migrate.baseline, version=version, tenants=tenants, unproven=unproven)
    with exit_codes(debug=debug):
        found = answer(ask)
        if as_json:
            print_objects(telling.baseline_objects(found))
        else:
            print_lines(telling.baseline_lines(found))
        sys.exit(found.exit_code)
