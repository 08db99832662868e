"""The command that says how all schemas stand: status."""

import sys
from functools import partial
from typing import Any

import click

from tenancy import migrate
from tenancy.exits import Exit, exit_codes
from tenancy.migrate.commands import rollout
from tenancy.migrate.commands.common import (
    answer,
    debug_option,
    json_option,
    print_lines,
    print_objects,
)
from tenancy.migrate.report import objects, output


@click.command()
@rollout.selecting
@json_option
@debug_option
def status(*, as_json: bool, debug: bool, **given: Any) -> None:  # noqa: ANN401 - the options
    """Say who is behind, since when and why; how many stand where. Changes nothing.

    Example: python -m tenancy.migrate status --json
    """
    with exit_codes(debug=debug):
        found = answer(partial(migrate.status, options=rollout.options(given)))
        if as_json:
            steps = map(objects.step_object, found.steps)
            print_objects([*steps, *objects.unfit_objects(found), objects.status_object(found)])
        else:
            print_lines(output.status_lines(found))
        if found.unfit:
            sys.exit(Exit.REFUSED)
