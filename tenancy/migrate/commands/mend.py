"""The commands for what only a person can decide: resolve, down."""

import json
import sys

import click

from tenancy.exits import Exit, exit_codes
from tenancy.migrate.commands.common import answer, debug_option, json_option, print_lines
from tenancy.migrate.fleet import mending
from tenancy.migrate.fleet.mending import Reversed, Wanted


@click.command()
@click.argument("tenant", metavar="SLUG")
@click.option("--version", required=True, metavar="VERSION", help="Of the file.")
@click.option(
    "--step", type=click.IntRange(1), required=True, metavar="N", help="Its statement, from 1."
)
@click.option("--done", is_flag=True, help="It was done.")
@click.option("--again", is_flag=True, help="It was not: run it once more.")
@debug_option
def resolve(  # noqa: PLR0913 - click gives each option by name
    tenant: str, version: str, step: int, *, done: bool, again: bool, debug: bool
) -> None:
    """Say what has become of a statement whose end nobody saw; the next `up` goes on.

    Look at the tenant's schema first. SLUG is a tenant's, or the name of the shared schema.

    Example: python -m tenancy.migrate resolve acme --version 0007 --step 2 --done
    """
    if done is again:
        raise click.UsageError("say --done if it was done, or --again to run it once more")
    with exit_codes(debug=debug):
        schema = answer(
            lambda settings: mending.resolve(
                settings, tenant, version=version, step=step, done=done
            )
        )
        said = "done" if done else "to be run again"
        print_lines([f"{tenant} ({schema}): statement {step} of {version} is {said}; now: up"])


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
        found = answer(lambda settings: mending.reversal(settings, to, tenants))
        if any(one.migrations for one in found) and not yes:
            _ask(found)
        results = answer(lambda settings: mending.down(settings, to, tenants))
        print_lines(_object(result) if as_json else _line(result) for result in results)
        sys.exit(Exit.FAILED if any(result.failure for result in results) else Exit.CURRENT)


def _ask(found: tuple[Wanted, ...]) -> None:
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


def _object(result: Reversed) -> str:
    failure = result.failure
    outcome = "current"
    if failure is not None:
        outcome = "needs-decision" if result.doubtful else "failed"
    return json.dumps(
        {
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
    )
