"""`python -m tenancy tenants`: another name, another state."""

import click

from tenancy.commands.common import as_administrator, json_option, print_one, reason_option
from tenancy.commands.slugs import slug_argument
from tenancy.commands.tenants import tenants


@tenants.command()
@slug_argument
@click.argument("to", metavar="NEW")
@click.option(
    "--redirect/--no-redirect",
    default=True,
    show_default=True,
    help="Answer requests for SLUG by a redirect (308) to NEW, until another tenant takes SLUG.",
)
@reason_option
@json_option
def rename(slug: str, to: str, reason: str | None, *, redirect: bool, as_json: bool) -> None:
    """Give the tenant SLUG the slug NEW; its schema, its role and its data stay where they are.

    Example: python -m tenancy tenants rename acme acme-corp
    """
    profile = as_administrator(
        lambda admin: admin.rename(slug, to, redirect=redirect), reason=reason
    )
    print_one(profile, as_json=as_json)


@tenants.command()
@slug_argument
@reason_option
@json_option
def suspend(slug: str, reason: str | None, *, as_json: bool) -> None:
    """Refuse all requests of the tenant SLUG (403) until `resume`; its data is kept, and migrated.

    Example: python -m tenancy tenants suspend acme --reason "invoice 4711 is not paid"
    """
    profile = as_administrator(lambda admin: admin.suspend(slug, reason=reason))
    print_one(profile, as_json=as_json)


@tenants.command()
@slug_argument
@reason_option
@json_option
def resume(slug: str, reason: str | None, *, as_json: bool) -> None:
    """Serve the tenant SLUG again, reading and writing, after `suspend` or `read-only`.

    Example: python -m tenancy tenants resume acme
    """
    profile = as_administrator(lambda admin: admin.resume(slug, reason=reason))
    print_one(profile, as_json=as_json)


@tenants.command()
@slug_argument
@reason_option
@json_option
def read_only(slug: str, reason: str | None, *, as_json: bool) -> None:
    """Let the tenant SLUG read and not write, until `resume`; the server refuses each write (403).

    Example: python -m tenancy tenants read-only acme --reason "moving to another server"
    """
    profile = as_administrator(lambda admin: admin.make_read_only(slug, reason=reason))
    print_one(profile, as_json=as_json)
