"""`python -m tenancy`: serve, tenants, maintain, doctor, walls, migrate, leakcheck, settings."""

import asyncio
import json
import logging
import sys

import click

from tenancy import doctor as doctors
from tenancy import embedded
from tenancy import serve as serving
from tenancy import settings as settings_module
from tenancy.commands import portability as _portability  # noqa: F401 - adds to tenants
from tenancy.commands import removal as _removal  # noqa: F401 - adds to tenants
from tenancy.commands.common import as_administrator
from tenancy.commands.maintain import maintain
from tenancy.commands.tenants import tenants
from tenancy.exits import Exit, exit_codes
from tenancy.leakcheck.command import leakcheck
from tenancy.migrate.__main__ import migrate_group


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tenancy")
def cli() -> None:
    """Schema-per-tenant PostgreSQL for async Python.

    Settings come from TENANCY_* variables and a .env file; without TENANCY_DATABASE_URL an embedded
    PostgreSQL is started for the time of the command.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")


@cli.command()
@click.argument("application", default=serving.APPLICATION)
@click.option("--demo", is_flag=True, help="Serve the notes demo, with tenants acme and globex.")
@click.option("--migrate", "migrates", is_flag=True, help="Apply pending migrations first.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes."
)
def serve(
    application: str, *, demo: bool, migrates: bool, host: str, port: int, workers: int
) -> None:
    """Serve APPLICATION (module:expression) by hypercorn.

    Example: python -m tenancy serve --demo --port 8080
    """
    if demo and application != serving.APPLICATION:
        raise click.UsageError("--demo serves an application of its own: leave APPLICATION out")
    options = serving.Options(application, host, port, workers, migrate=migrates, demo=demo)
    sys.exit(serving.serve(options))


@cli.command()
def walls() -> None:
    """Print the SQL that a superuser runs once in the database for TENANCY_ISOLATION=strict.

    Again after CREATE EXTENSION, an upgrade of the server, or a change of a login.
    Example: python -m tenancy walls | psql -X -v ON_ERROR_STOP=1 -d notes
    """
    click.echo(as_administrator(lambda admin: admin.walls()), nl=False)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per check.")
@click.option("--all", "everything", is_flag=True, help="Name all things found, not the first 20.")
def doctor(*, as_json: bool, everything: bool) -> None:
    """Check the database against the isolation level, and say what to run; changes nothing.

    The exit code is 4 where a promise of SECURITY.md is not kept, 0 with nothing but warnings.
    Example: python -m tenancy doctor
    """
    most = None if everything else doctors.MOST
    with embedded.configured(settings_module.load()) as configured:
        findings = asyncio.run(doctors.diagnose(configured, most=most))
    for line in (
        (json.dumps(finding.as_json()) for finding in findings)
        if as_json
        else doctors.lines(findings)
    ):
        click.echo(line)
    if any(finding.level is doctors.Level.FAULT for finding in findings):
        sys.exit(Exit.ENVIRONMENT)


@cli.command()
def settings() -> None:
    """Print every setting, what it means and its default, as an example of a .env file.

    Example: python -m tenancy settings > .env
    """
    click.echo(settings_module.example(), nl=False)


cli.add_command(migrate_group, "migrate")
cli.add_command(leakcheck)
cli.add_command(maintain)
cli.add_command(tenants)


def main() -> None:
    """Run the command line."""
    with exit_codes():
        cli(prog_name="python -m tenancy")


if __name__ == "__main__":
    main()
