"""The command that tries what is pending, and leaves nothing of it: rehearse."""

import sys
from functools import partial

import click

from tenancy.commands.slugs import slugs
from tenancy.exits import Exit, exit_codes
from tenancy.migrate.commands.common import (
    answer,
    debug_option,
    json_option,
    print_lines,
    print_objects,
)
from tenancy.migrate.rehearsal import output
from tenancy.migrate.rehearsal.records import How
from tenancy.migrate.rehearsal.rehearse import LIMIT_SECONDS
from tenancy.migrate.rehearsal.rehearse import rehearse as rehearsed


@click.command()
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="SLUG",
    shell_complete=slugs,
    help="This tenant's; repeatable. None: the first that is behind.",
)
@click.option(
    "--sample", type=click.IntRange(1), metavar="N", help="The N largest that are behind."
)
@click.option(
    "--clone",
    "how",
    flag_value=How.CLONE,
    type=How,
    default=True,
    help="In a copy of the structure, made from the files, without rows. The default.",
)
@click.option(
    "--rolled-back",
    "how",
    flag_value=How.ROLLED_BACK,
    type=How,
    help="In the tenant's own schema and rows; takes the locks, and gives them back.",
)
@click.option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    default=LIMIT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long --rolled-back may hold its locks.",
)
@json_option
@debug_option
def rehearse(  # noqa: PLR0913 - one argument per option
    *,
    tenants: tuple[str, ...],
    sample: int | None,
    how: How,
    limit: float,
    as_json: bool,
    debug: bool,
) -> None:
    """Try what is pending, and say the time, the locks and what is rewritten. Changes nothing.

    Exit code 3: it would fail.

    Example: python -m tenancy.migrate rehearse --tenant acme --rolled-back
    """
    if tenants and sample:
        raise click.UsageError("--tenant and --sample exclude one another")
    ask = partial(rehearsed, how=how, tenants=tenants, sample=sample, limit_seconds=limit)
    with exit_codes(debug=debug):
        found = answer(ask)
        if as_json:
            print_objects(map(output.rehearsal_object, found))
        else:
            print_lines(line for one in found for line in output.lines(one))
            print_lines([] if found else ["nothing pending"])
        sys.exit(Exit.FAILED if any(one.failure for one in found) else Exit.CURRENT)
