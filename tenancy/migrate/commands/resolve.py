"""The command that says what has become of a statement in doubt: resolve."""

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


@click.command()
@click.argument("tenant", metavar="SLUG", shell_complete=slugs)
@click.option("--version", required=True, metavar="VERSION", help="Of the file.")
@click.option(
    "--step", type=click.IntRange(1), required=True, metavar="N", help="Its statement, from 1."
)
@click.option("--done", is_flag=True, help="It was done.")
@click.option("--again", is_flag=True, help="It was not: run it once more.")
@json_option
@debug_option
def resolve(  # noqa: PLR0913 - click gives each option by name
    tenant: str, version: str, step: int, *, done: bool, again: bool, as_json: bool, debug: bool
) -> None:
    """Say what has become of a statement whose end nobody saw; the next `up` goes on.

    Look at the tenant's schema first. SLUG is a tenant's, or the name of the shared schema.

    Example: python -m tenancy.migrate resolve acme --version 0007 --step 2 --done
    """
    if done is again:
        raise click.UsageError("say --done if it was done, or --again to run it once more")
    with exit_codes(debug=debug):
        ask = partial(migrate.resolve, tenant=tenant, version=version, step=step, done=done)
        schema = answer(ask)
        if as_json:
            told = {"tenant": tenant, "schema": schema, "version": version, "step": step}
            print_objects([{**told, "outcome": "done" if done else "again"}])
            return
        said = "done" if done else "to be run again"
        print_lines([f"{tenant} ({schema}): statement {step} of {version} is {said}; now: up"])
