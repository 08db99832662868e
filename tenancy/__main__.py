"""`python -m tenancy`: serve, tenants, doctor, walls, migrate, leakcheck, settings."""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table

from tenancy import doctor as doctors
from tenancy import embedded, provision
from tenancy import serve as serving
from tenancy import settings as settings_module
from tenancy.exits import Exit, exit_codes
from tenancy.fairness import limits
from tenancy.leakcheck.command import leakcheck
from tenancy.migrate.__main__ import migrate_group
from tenancy.provision import Administrator, Profile
from tenancy.settings import Settings

Result = TypeVar("Result")


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


@cli.group()
def tenants() -> None:
    """Make tenants, and look at them."""


@tenants.command()
@click.argument("slug")
@click.option(
    "--domain", "domains", multiple=True, metavar="NAME", help="Custom domain; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print the tenant as JSON.")
def create(slug: str, domains: tuple[str, ...], *, as_json: bool) -> None:
    """Make the tenant SLUG with its role, schema and tables, or nothing at all.

    Example: python -m tenancy tenants create acme --domain notes.acme.example
    """
    profile = _as_administrator(lambda admin: admin.create(slug, domains))
    _print_one(profile, as_json=as_json)


@tenants.command()
@click.argument("slug")
@click.option("--json", "as_json", is_flag=True, help="Print the tenant as JSON.")
def show(slug: str, *, as_json: bool) -> None:
    """Show the tenant SLUG.

    Example: python -m tenancy tenants show acme --json
    """
    _print_one(_as_administrator(lambda admin: admin.show(slug)), as_json=as_json)


@tenants.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def list_(*, as_json: bool) -> None:
    """List all tenants by slug.

    Example: python -m tenancy tenants list
    """
    profiles = _as_administrator(lambda admin: admin.list())
    if as_json:
        for profile in profiles:
            click.echo(json.dumps(profile.as_json()))
        return
    table = Table("slug", "state", "version", "schema", "domains", box=None)
    for profile in profiles:
        tenant = profile.tenant
        version = tenant.version or "-"
        table.add_row(tenant.slug, tenant.state, version, tenant.schema, ", ".join(profile.domains))
    Console().print(table)


@tenants.command()
@click.argument("slug")
@click.option(
    "--statement-timeout",
    type=float,
    metavar="SECONDS",
    help="Of one statement; 0: TENANCY_STATEMENT_TIMEOUT_SECONDS, as for all.",
)
@click.option(
    "--max-connections",
    type=int,
    metavar="N",
    help="In each process; 0: as for all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the tenant as JSON.")
def limit(
    slug: str, statement_timeout: float | None, max_connections: int | None, *, as_json: bool
) -> None:
    """Let the tenant SLUG use less than others. What is not named stays as it is.

    Example: python -m tenancy tenants limit acme --statement-timeout 5 --max-connections 3
    """
    given = {
        limits.STATEMENT_TIMEOUT: statement_timeout,
        limits.MAX_CONNECTIONS: max_connections,
    }
    changes = {name: value or None for name, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("name a limit: --statement-timeout or --max-connections")
    _print_one(_as_administrator(lambda admin: admin.limit(slug, changes)), as_json=as_json)


@tenants.command()
def grant() -> None:
    """Give the login of TENANCY_DATABASE_URL what it needs for every tenant.

    For after a change of that login, or of TENANCY_ISOLATION.
    Example: python -m tenancy tenants grant
    """
    count = _as_administrator(lambda admin: admin.grant())
    click.echo(f"granted for {count} tenants")


@cli.command()
def walls() -> None:
    """Print the SQL that a superuser runs once in the database for TENANCY_ISOLATION=strict.

    Again after CREATE EXTENSION, an upgrade of the server, or a change of a login.
    Example: python -m tenancy walls | psql -X -v ON_ERROR_STOP=1 -d notes
    """
    click.echo(_as_administrator(lambda admin: admin.walls()), nl=False)


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


def _as_administrator(operation: Callable[[Administrator], Awaitable[Result]]) -> Result:
    async def run(configured: Settings) -> Result:
        async with provision.administrator(configured) as admin:
            return await operation(admin)

    with embedded.configured(settings_module.load()) as configured:
        return asyncio.run(run(configured))


def _print_one(profile: Profile, *, as_json: bool) -> None:
    members = profile.as_json()
    if as_json:
        click.echo(json.dumps(members))
        return
    for name, value in members.items():
        text = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name:<25} {text or '-'}")


cli.add_command(migrate_group, "migrate")
cli.add_command(leakcheck)


def main() -> None:
    """Run the command line."""
    with exit_codes():
        cli(prog_name="python -m tenancy")


if __name__ == "__main__":
    main()
