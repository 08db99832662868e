"""`python -m tenancy tenants`."""

import json

import click
from rich.console import Console
from rich.table import Table

from tenancy.commands.common import as_administrator, print_one
from tenancy.fairness import limits


@click.group()
def tenants() -> None:
    """Make tenants, and look at them."""


@tenants.command()
@click.argument("slug")
@click.option(
    "--domain", "domains", multiple=True, metavar="NAME", help="Custom domain; repeatable."
)
@click.option(
    "--idempotency-key",
    "key",
    metavar="TEXT",
    help="Sent again within 24 hours with the same request, nothing more is made.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the tenant as JSON.")
def create(slug: str, domains: tuple[str, ...], key: str | None, *, as_json: bool) -> None:
    """Make the tenant SLUG with its role, schema and tables, or nothing at all.

    Example: python -m tenancy tenants create acme --domain notes.acme.example
    """
    profile = as_administrator(lambda admin: admin.create(slug, domains, idempotency_key=key))
    print_one(profile, as_json=as_json)


@tenants.command()
@click.argument("slug")
@click.option("--json", "as_json", is_flag=True, help="Print the tenant as JSON.")
def show(slug: str, *, as_json: bool) -> None:
    """Show the tenant SLUG.

    Example: python -m tenancy tenants show acme --json
    """
    print_one(as_administrator(lambda admin: admin.show(slug)), as_json=as_json)


@tenants.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def list_(*, as_json: bool) -> None:
    """List all tenants by slug.

    Example: python -m tenancy tenants list
    """
    profiles = as_administrator(lambda admin: admin.list())
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
    print_one(as_administrator(lambda admin: admin.limit(slug, changes)), as_json=as_json)


@tenants.command()
def grant() -> None:
    """Give the login of TENANCY_DATABASE_URL what it needs for every tenant.

    For after a change of that login, or of TENANCY_ISOLATION.
    Example: python -m tenancy tenants grant
    """
    count = as_administrator(lambda admin: admin.grant())
    click.echo(f"granted for {count} tenants")
