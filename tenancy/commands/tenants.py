"""`python -m tenancy tenants`."""

import json

import click

from tenancy.commands.common import (
    as_administrator,
    json_option,
    print_one,
    print_table,
    reason_option,
)
from tenancy.commands.slugs import slug_argument, slugs
from tenancy.fairness import limits
from tenancy.provision import Administrator, Profile
from tenancy.tenant import State

PAGE = 500


@click.group()
def tenants() -> None:
    """A tenant's life: make, change, take along and delete tenants, and look at them."""


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
@reason_option
@json_option
def create(
    slug: str, domains: tuple[str, ...], key: str | None, reason: str | None, *, as_json: bool
) -> None:
    """Make the tenant SLUG with its role, schema and tables, or nothing at all.

    Example: python -m tenancy tenants create acme --domain notes.acme.example
    """
    profile = as_administrator(
        lambda admin: admin.create(slug, domains, idempotency_key=key), reason=reason
    )
    print_one(profile, as_json=as_json)


@tenants.command()
@slug_argument
@json_option
def show(slug: str, *, as_json: bool) -> None:
    """Show the tenant SLUG.

    Example: python -m tenancy tenants show acme --json
    """
    print_one(as_administrator(lambda admin: admin.show(slug)), as_json=as_json)


@tenants.command(name="list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([str(state) for state in State]),
    help="In this one; repeatable.",
)
@click.option(
    "--search", metavar="WORD", help="Part of the slug, a former one or a domain; or the id."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Tenants at most.")
@click.option(
    "--after",
    metavar="SLUG",
    shell_complete=slugs,
    help="Those that follow: the last slug of the page before.",
)
@json_option
def list_(
    states: tuple[str, ...],
    search: str | None,
    limit: int | None,
    after: str | None,
    *,
    as_json: bool,
) -> None:
    """List tenants by slug: all, or a page of them.

    Example: python -m tenancy tenants list --state suspended --search example.com --limit 50
    """
    wanted = [State(state) for state in states]

    async def read(admin: Administrator) -> list[Profile]:
        """Page by page, as the server need not hold all of a big registry at once."""
        found: list[Profile] = []
        while limit is None or len(found) < limit:
            most = PAGE if limit is None else min(PAGE, limit - len(found))
            last = found[-1].tenant.slug if found else after
            page = await admin.page(states=wanted, search=search, after=last, limit=most)
            found += page
            if len(page) < most:
                break
        return found

    found = as_administrator(read)
    if as_json:
        for profile in found:
            click.echo(json.dumps(profile.as_json()))
    else:
        print_table(("slug", "state", "version", "schema", "domains"), map(_row, found))
    if len(found) == limit:
        click.echo(f"those that follow: --after {found[-1].tenant.slug}", err=True)


@tenants.command()
@slug_argument
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
@reason_option
@json_option
def limit(
    slug: str,
    statement_timeout: float | None,
    max_connections: int | None,
    reason: str | None,
    *,
    as_json: bool,
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
    profile = as_administrator(lambda admin: admin.limit(slug, changes), reason=reason)
    print_one(profile, as_json=as_json)


@tenants.command()
@json_option
def grant(*, as_json: bool) -> None:
    """Give the login of TENANCY_DATABASE_URL what it needs for every tenant.

    For after a change of that login, or of TENANCY_ISOLATION.
    Example: python -m tenancy tenants grant
    """
    count = as_administrator(lambda admin: admin.grant())
    click.echo(json.dumps({"tenants": count}) if as_json else f"granted for {count} tenants")


def _row(profile: Profile) -> tuple[str, ...]:
    tenant = profile.tenant
    version = tenant.version or "-"
    return tenant.slug, tenant.state, version, tenant.schema, ", ".join(profile.domains)
