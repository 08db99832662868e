"""`python -m tenancy tenants delete`, `restore` and `purge`."""

import json
from datetime import timedelta
from pathlib import Path

import click

from tenancy import portability
from tenancy.commands.common import (
    as_administrator,
    confirmed,
    json_option,
    print_one,
    reason_option,
    yes_option,
)
from tenancy.commands.slugs import slug_argument
from tenancy.commands.tenants import tenants
from tenancy.provision import Administrator, Profile
from tenancy.provision.removal import WAIT_SECONDS

_export = click.option(
    "--export",
    "to",
    type=click.Path(path_type=Path),
    metavar="TO",
    help="Export it on its way, as `export` does; where that fails it stays as it is.",
)


@tenants.command()
@slug_argument
@click.option(
    "--after",
    "days",
    type=click.IntRange(0, 3650),
    metavar="DAYS",
    help="How long it can be restored; TENANCY_DELETION_GRACE_DAYS if not given.",
)
@_export
@reason_option
@yes_option
@json_option
def delete(
    slug: str, days: int | None, to: Path | None, reason: str | None, *, yes: bool, as_json: bool
) -> None:
    """Serve the tenant SLUG no more; `maintain` purges it when its days are over.

    Until then `restore` brings it back as it was.
    Example: python -m tenancy tenants delete acme --after 90 --reason "contract ended"
    """
    confirmed(slug, yes)
    after = None if days is None else timedelta(days=days)

    async def delete(admin: Administrator) -> Profile:
        if to is None:
            return await admin.delete(slug, after=after, reason=reason)
        await portability.delete(admin.settings, slug, to, after=after, reason=reason)
        return await admin.show(slug)

    print_one(as_administrator(delete), as_json=as_json)


@tenants.command()
@slug_argument
@reason_option
@json_option
def restore(slug: str, reason: str | None, *, as_json: bool) -> None:
    """Let the deleted tenant SLUG be what it was before.

    Example: python -m tenancy tenants restore acme
    """
    profile = as_administrator(lambda admin: admin.restore(slug, reason=reason))
    print_one(profile, as_json=as_json)


@tenants.command()
@slug_argument
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
@_export
@reason_option
@yes_option
@json_option
def purge(
    slug: str,
    wait_seconds: float,
    to: Path | None,
    reason: str | None,
    *,
    early: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Drop all that is left of the deleted tenant SLUG, for good: schema, role, ledger, domains.

    Interrupted, it goes on where it was when it is run again.
    Example: python -m tenancy tenants purge acme --early
    """
    confirmed(slug, yes)

    async def purge(admin: Administrator) -> None:
        if to is None:
            await admin.purge(slug, early=early, wait_seconds=wait_seconds, reason=reason)
            return
        await portability.purge(
            admin.settings, slug, to, early=early, wait_seconds=wait_seconds, reason=reason
        )

    as_administrator(purge)
    click.echo(json.dumps({"slug": slug, "purged": True}) if as_json else f"{slug} is purged")
