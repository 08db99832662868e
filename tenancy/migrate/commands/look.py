"""The commands that look and change nothing: plan, status."""

import json
import sys
from collections.abc import Iterator
from functools import partial

import click

from tenancy import migrate
from tenancy.exits import exit_codes
from tenancy.migrate.commands.common import (
    answer,
    debug_option,
    json_option,
    print_lines,
    tenants_option,
)
from tenancy.migrate.plan.steps import Survey
from tenancy.migrate.report import output
from tenancy.migrate.report.outcomes import survey_exit


@click.command()
@tenants_option
@click.option("--check", is_flag=True, help="Exit with 5 if anything is pending.")
@json_option
@debug_option
def plan(tenants: tuple[str, ...], *, check: bool, as_json: bool, debug: bool) -> None:
    """Say what `up` would apply, and change nothing.

    Example: python -m tenancy.migrate plan --check
    """
    with exit_codes(debug=debug):
        found = answer(partial(migrate.plan, tenants=tenants))
        print_lines(_objects(found) if as_json else output.plan_lines(found))
        sys.exit(survey_exit(found, check=check))


@click.command()
@tenants_option
@json_option
@debug_option
def status(tenants: tuple[str, ...], *, as_json: bool, debug: bool) -> None:
    """Say who is behind, since when and why; how many stand where. Changes nothing.

    Example: python -m tenancy.migrate status --json
    """
    with exit_codes(debug=debug):
        found = answer(partial(migrate.status, tenants=tenants))
        print_lines(_objects(found) if as_json else output.status_lines(found))


def _objects(found: Survey) -> Iterator[str]:
    for step in found.steps:
        yield json.dumps(output.step_object(step))
    yield json.dumps(output.survey_object(found))
