"""The command that takes tenants back: down."""

import sys
from functools import partial

import click

from tenancy import migrate
from tenancy.commands.slugs import slugs
from tenancy.exits import Exit, exit_codes
from tenancy.migrate.commands.common import (
    answer,
    debug_option,
    json_option,
    print_lines,
    print_objects,
)
from tenancy.migrate.upkeep.down import Planned, Reversed, reversal


@click.command()
@click.option(
    "--to", required=True, metavar="VERSION", help="The newest that is to stay; 0: none is."
)
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    required=True,
    metavar="SLUG",
    shell_complete=slugs,
    help="Whom to take back; repeatable.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@debug_option
def down(to: str, tenants: tuple[str, ...], *, yes: bool, as_json: bool, debug: bool) -> None:
    """Take chosen tenants back to a version, newest file first; what the files drop is lost.

    Refuses before anything runs if a file has no way back.

    Example: python -m tenancy.migrate down --to 0006 --tenant acme
    """
    with exit_codes(debug=debug):
        found = answer(partial(reversal, to=to, tenants=tenants))
        if any(one.migrations for one in found) and not yes:
            _ask(found)
        results = answer(partial(migrate.down, to=to, tenants=tenants))
        if as_json:
            print_objects(map(_object, results))
        else:
            print_lines(map(_line, results))
        sys.exit(Exit.FAILED if any(result.failure for result in results) else Exit.CURRENT)


def _ask(found: tuple[Planned, ...]) -> None:
    for one in found:
        labels = ", ".join(migration.source.label for migration in one.migrations) or "nothing"
        click.echo(f"{one.tenant} ({one.schema.name}): to take back {labels}", err=True)
    slugs = " ".join(one.tenant for one in found)
    try:
        typed = click.prompt(f"Type {slugs} to go on", err=True, default="", show_default=False)
    except click.Abort as error:
        raise click.UsageError("nobody answered: add --yes") from error
    if typed.split() != slugs.split():
        raise click.UsageError("that is something else: nothing was taken back")


def _line(result: Reversed) -> str:
    versions = ", ".join(result.versions)
    words = f"took back {versions}" if versions else "nothing was taken back"
    why = f"; {result.failure}" if result.failure else ""
    return f"{result.tenant} ({result.schema}): {words}{why}"


def _object(result: Reversed) -> dict[str, object]:
    failure = result.failure
    outcome = "current"
    if failure is not None:
        outcome = "needs-decision" if result.doubtful else "failed"
    return {
        "event": "reversed",
        "tenant": result.tenant,
        "schema": result.schema,
        "outcome": outcome,
        "versions": list(result.versions),
        "failure": failure
        and {
            "version": failure.version,
            "place": failure.place,
            "sqlstate": failure.sqlstate,
            "message": failure.message,
        },
    }
