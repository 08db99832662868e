"""`python -m tenancy tenants export | import | clone | move`: one tenant taken along."""

import json
import os
from collections.abc import Awaitable
from pathlib import Path

import click

from tenancy import portability
from tenancy.commands.common import (
    confirmed,
    json_option,
    print_one,
    reason_option,
    with_settings,
    yes_option,
)
from tenancy.commands.slugs import slug_argument
from tenancy.commands.tenants import tenants
from tenancy.portability import Imported
from tenancy.portability import target as targets
from tenancy.settings import Settings


@tenants.command()
@slug_argument
@click.argument("to", type=click.Path(path_type=Path))
@reason_option
@json_option
def export(slug: str, to: Path, reason: str | None, *, as_json: bool) -> None:
    """Write the tenant SLUG to the new directory TO, or to one file where TO ends in .tar.gz.

    All of it as of one moment, with checksums, while requests go on; what it lacks is in the guide.
    Example: python -m tenancy tenants export acme acme.tar.gz
    """
    done = with_settings(lambda settings: portability.export(settings, slug, to, reason=reason))
    found = {
        "slug": done.profile.tenant.slug,
        "path": str(done.path),
        "tables": done.tables,
        "rows": done.rows,
        "bytes": done.bytes,
    }
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(
        f"{slug}: {done.rows} rows of {done.tables} tables, {done.bytes / 1e6:.1f} MB, in {to}"
    )


@tenants.command(name="import")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--slug", metavar="SLUG", help="Make a new tenant with it; else the one it had.")
@click.option(
    "--domain", "domains", multiple=True, metavar="NAME", help="Custom domain; repeatable."
)
@click.option("--no-domains", is_flag=True, help="Without those it had.")
@reason_option
@json_option
def import_(
    source: Path,
    slug: str | None,
    domains: tuple[str, ...],
    reason: str | None,
    *,
    no_domains: bool,
    as_json: bool,
) -> None:
    """Make a tenant of SOURCE, which `export` has written; all of it, or nothing.

    Example: python -m tenancy tenants import acme.tar.gz --slug acme-copy
    """
    wanted = domains if domains or no_domains else None
    _print(
        with_settings(
            lambda settings: portability.import_(
                settings, source, slug=slug, domains=wanted, reason=reason
            )
        ),
        as_json=as_json,
    )


@tenants.command()
@slug_argument
@click.argument("to")
@click.option(
    "--domain", "domains", multiple=True, metavar="NAME", help="Custom domain; repeatable."
)
@click.option("--without-data", is_flag=True, help="No rows, not those that files insert either.")
@click.option(
    "--anonymise",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="SQL that runs in the copy before anybody can see it.",
)
@reason_option
@json_option
def clone(
    slug: str,
    to: str,
    domains: tuple[str, ...],
    anonymise: Path | None,
    reason: str | None,
    *,
    without_data: bool,
    as_json: bool,
) -> None:
    """Make the new tenant TO, a copy of the tenant SLUG; all of it, or nothing.

    Example: python -m tenancy tenants clone acme acme-test --anonymise anonymise.sql
    """
    if without_data and anonymise is not None:
        raise click.UsageError("there is nothing to anonymise in a copy --without-data")

    def copy(settings: Settings) -> Awaitable[Imported]:
        return portability.clone(
            *(settings, slug, to),
            domains=domains,
            data=not without_data,
            anonymise=anonymise,
            reason=reason,
        )

    _print(with_settings(copy), as_json=as_json)


@tenants.command()
@slug_argument
@click.option(
    "--to-env",
    metavar="VARIABLE",
    help="Its value is the TENANCY_DATABASE_URL of the other deployment.",
)
@click.option(
    "--to-admin-env",
    metavar="VARIABLE",
    help="Its value is the TENANCY_ADMIN_DATABASE_URL there, where that is another.",
)
@click.option(
    "--to-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Instead: its settings, in the form of .env.",
)
@click.option("--abandon", is_flag=True, help="Give up a move that was interrupted.")
@yes_option
@reason_option
@json_option
def move(
    slug: str,
    to_env: str | None,
    to_admin_env: str | None,
    to_file: Path | None,
    reason: str | None,
    *,
    abandon: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Move the tenant SLUG to another database; here it stays, suspended, until it is deleted.

    It can be read and not written meanwhile. Interrupted, it goes on when it is run again.
    Example: python -m tenancy tenants move acme --to-file other.env
    """
    if (to_env is None) == (to_file is None) or (to_file is not None and to_admin_env is not None):
        raise click.UsageError("give --to-file, or --to-env and perhaps --to-admin-env")

    def target(settings: Settings) -> Settings:
        if to_file is not None:
            return targets.read(settings, to_file)
        given = {"database_url": to_env, "admin_database_url": to_admin_env}
        values = {name: _value(variable) for name, variable in given.items() if variable}
        return targets.other(settings, values, str(to_env))

    if abandon:
        profile = with_settings(
            lambda settings: portability.abandon(settings, slug, target(settings), reason=reason)
        )
        print_one(profile, as_json=as_json)
        return
    confirmed(slug, yes)
    moved = with_settings(
        lambda settings: portability.move(settings, slug, target(settings), reason=reason)
    )
    _print(moved, as_json=as_json)


def _value(variable: str) -> str:
    """Return the value of *variable*, which is not on the command line for everybody to read."""
    value = os.environ.get(variable)
    if not value:
        raise click.UsageError(f"the variable {variable} is not set")
    return value


def _print(made: Imported, *, as_json: bool) -> None:
    tenant = made.profile.tenant
    if as_json:
        counts = {"tables": made.tables, "rows": made.rows, "pending": made.pending}
        click.echo(json.dumps({**made.profile.as_json(), **counts}))
        return
    click.echo(
        f"{tenant.slug} is a tenant: schema {tenant.schema}, state {tenant.state}, "
        f"{made.rows} rows of {made.tables} tables"
    )
    if made.pending:
        click.echo(f"it lacks {made.pending} files: run `python -m tenancy.migrate`")
