"""`python -m tenancy doctor`."""

import asyncio
import json
import sys

import click

from tenancy import deployment, embedded
from tenancy import doctor as doctors
from tenancy.commands.common import json_option
from tenancy.exits import Exit


@click.command()
@json_option
@click.option("--all", "everything", is_flag=True, help="Name all things found, not the first 20.")
def doctor(*, as_json: bool, everything: bool) -> None:
    """Check the database against the isolation level, and say what to run; changes nothing.

    The exit code is 4 where a promise of SECURITY.md is not kept, 0 with nothing but warnings.
    Example: python -m tenancy doctor
    """
    most = None if everything else doctors.MOST
    with embedded.configured(deployment.settings()) as configured:
        findings = asyncio.run(doctors.diagnose(configured, most=most))
    for line in (
        (json.dumps(finding.as_json()) for finding in findings)
        if as_json
        else doctors.lines(findings)
    ):
        click.echo(line)
    if any(finding.level is doctors.Level.FAULT for finding in findings):
        sys.exit(Exit.ENVIRONMENT)
