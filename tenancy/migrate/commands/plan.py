"""The command that says what a run would do: plan."""

import sys
from functools import partial
from typing import Any

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
)
from tenancy.migrate.fleet import outline
from tenancy.migrate.report import objects, output
from tenancy.migrate.report.outcomes import survey_exit


@click.command()
@rollout.waving
@rollout.selecting
@click.option("--check", is_flag=True, help="Exit with 5 if anything is pending.")
@json_option
@debug_option
def plan(*, check: bool, as_json: bool, debug: bool, **given: Any) -> None:  # noqa: ANN401
    """Say what `up` would apply, in which waves and parts, and change nothing.

    Example: python -m tenancy.migrate plan --check
    """
    with exit_codes(debug=debug):
        options = rollout.options(given)
        found = answer(partial(migrate.plan, options=options))
        made = outline.outline(found, options)
        if as_json:
            summary = {**objects.survey_object(found), **outline.as_json(made, options)}
            print_objects([*map(objects.step_object, found.steps), summary])
        else:
            print_lines([*output.plan_lines(found), *outline.lines(made, options)])
        sys.exit(survey_exit(found, check=check))
