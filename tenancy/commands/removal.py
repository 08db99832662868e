"""`python -m tenancy tenants delete`, `restore` and `purge`."""

from datetime import timedelta

import click

from tenancy.commands.common import as_administrator, confirmed, print_one
from tenancy.commands.tenants import tenants
from tenancy.provision.removal import WAIT_SECONDS

_reason = click.option("--reason", metavar="WORDS", help="For the audit.")
_yes = click.option("--yes", is_flag=True, help="Do not ask for the slug once more.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the tenant as JSON.")


@tenants.command()
@click.argument("slug")
@click.option(
    "--after",
    "days",
    type=click.IntRange(0, 3650),
    metavar="DAYS",
    help="How long it can be restored; TENANCY_DELETION_GRACE_DAYS if not given.",
)
@_reason
@_yes
@_json
def delete(slug: str, days: int | None, reason: str | None, *, yes: bool, as_json: bool) -> None:
    """Serve the tenant SLUG no more; `maintain` purges it when its days are over.

    Until then `restore` brings it back as it was.
    Example: python -m tenancy tenants delete acme --after 90 --reason "contract ended"
    """
    confirmed(slug, yes=yes)
    after = None if days is None else timedelta(days=days)
    profile = as_administrator(lambda admin: admin.delete(slug, after=after, reason=reason))
    print_one(profile, as_json=as_json)


@tenants.command()
@click.argument("slug")
@_reason
@_json
def restore(slug: str, reason: str | None, *, as_json: bool) -> None:
    """Let the deleted tenant SLUG be what it was before.

    Example: python -m tenancy tenants restore acme
    """
    profile = as_administrator(lambda admin: admin.restore(slug, reason=reason))
    print_one(profile, as_json=as_json)


@tenants.command()
@click.argument("slug")
@click.option("--early", is_flag=True, help="Before its date, too.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=WAIT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Patience with whoever uses its tables; then exit code 75.",
)
@_reason
@_yes
def purge(slug: str, wait_seconds: float, reason: str | None, *, early: bool, yes: bool) -> None:
    """Drop all that is left of the deleted tenant SLUG, for good: schema, role, ledger, domains.

    Interrupted, it goes on where it was when it is run again.
    Example: python -m tenancy tenants purge acme --early
    """
    confirmed(slug, yes=yes)
    as_administrator(
        lambda admin: admin.purge(slug, early=early, wait_seconds=wait_seconds, reason=reason)
    )
    click.echo(f"{slug} is purged")
