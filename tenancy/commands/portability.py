"""`python -m tenancy tenants export | import`: one tenant taken along."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from tenancy import embedded, portability
from tenancy import settings as settings_module
from tenancy.commands.tenants import tenants
from tenancy.portability import Imported
from tenancy.settings import Settings

Result = TypeVar("Result")

_reason = click.option("--reason", metavar="TEXT", help="Why, for the audit.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@tenants.command()
@click.argument("slug")
@click.argument("to", type=click.Path(path_type=Path))
@_reason
@_json
def export(slug: str, to: Path, reason: str | None, *, as_json: bool) -> None:
    """Write the tenant SLUG to the new directory TO, or to one file where TO ends in .tar.gz.

    All of it as of one moment, with checksums, while requests go on; what it lacks is in the guide.
    Example: python -m tenancy tenants export acme acme.tar.gz
    """
    done = _run(lambda settings: portability.export(settings, slug, to, reason=reason))
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
@_reason
@_json
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
        _run(
            lambda settings: portability.import_(
                settings, source, slug=slug, domains=wanted, reason=reason
            )
        ),
        as_json=as_json,
    )


@tenants.command()
@click.argument("slug")
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
@_reason
@_json
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

    _print(_run(copy), as_json=as_json)


def _run(operation: Callable[[Settings], Awaitable[Result]]) -> Result:
    """Return what *operation* does in the configured deployment; SIGTERM ends it as Ctrl-C does."""

    async def run(settings: Settings) -> Result:
        task = asyncio.current_task()
        with contextlib.suppress(RuntimeError, ValueError):  # in a thread no signal arrives
            if task is not None:
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await operation(settings)

    with embedded.configured(settings_module.load()) as configured:
        return asyncio.run(run(configured))


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
