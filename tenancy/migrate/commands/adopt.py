"""The command that makes a tenant out of what was there before: adopt."""

import asyncio
import json
import os
from pathlib import Path

import click

from tenancy import adoption
from tenancy.adoption import Adopted, Wish
from tenancy.exits import cancelled_by, exit_codes
from tenancy.migrate.commands.common import answer, debug_option
from tenancy.settings import Settings


@click.command()
@click.option("--slug", required=True, metavar="SLUG", help="The tenant's.")
@click.option(
    "--at", required=True, metavar="VERSION", help="Of the last file that its schema has already."
)
@click.option("--schema", metavar="NAME", help="In this database: it becomes the tenant's.")
@click.option(
    "--from-url-env",
    metavar="VARIABLE",
    help="Its value is another database's address, whose rows are copied.",
)
@click.option(
    "--from-url-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The same in a file.",
)
@click.option(
    "--from-schema",
    default="public",
    show_default=True,
    metavar="NAME",
    help="In the other database.",
)
@click.option(
    "--domain", "domains", multiple=True, metavar="NAME", help="Custom domain; repeatable."
)
@click.option(
    "--without",
    multiple=True,
    metavar="TABLE",
    help="Is no part of it, as other tools' lists of migrations are not; repeatable.",
)
@click.option("--unproven", is_flag=True, help="Believe --at, without comparing with the files.")
@click.option("--json", "as_json", is_flag=True, help="Print the tenant as JSON.")
@debug_option
def adopt(  # noqa: PLR0913, PLR0917 - one argument per option
    slug: str,
    at: str,
    schema: str | None,
    from_url_env: str | None,
    from_url_file: Path | None,
    from_schema: str,
    domains: tuple[str, ...],
    without: tuple[str, ...],
    *,
    unproven: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Make a tenant of a schema in this database, or of a whole other database.

    The schema must be what the files of tenants make up to VERSION; what comes after, the next `up`
    applies. The other database is only read, and its address stays off the command line.

    \b
    Examples:
      python -m tenancy.migrate adopt --schema acme --slug acme --at 0012
      python -m tenancy.migrate adopt --from-url-env OLD_URL --slug acme --at 0012
    """  # noqa: D301 - click keeps the lines after the character itself
    if [schema, from_url_env, from_url_file].count(None) != 2:  # noqa: PLR2004 - one of three
        raise click.UsageError("give one of --schema, --from-url-env and --from-url-file")
    wish = Wish(slug, at, domains, frozenset(without), unproven)
    signals: list[int] = []

    async def become(settings: Settings) -> Adopted:
        with cancelled_by(signals):
            if schema is not None:
                return await adoption.adopt(settings, schema, wish)
            dsn, where = await asyncio.to_thread(_address, from_url_env, from_url_file)
            return await adoption.move(settings, dsn, where, from_schema, wish)

    with exit_codes(signals, debug=debug):
        adopted = answer(become)
        tenant = adopted.profile.tenant
        if as_json:
            click.echo(json.dumps({**adopted.profile.as_json(), "left": adopted.left}))
            return
        click.echo(f"{tenant.slug} is a tenant: schema {tenant.schema}, version {tenant.version}")
        if adopted.advice:
            click.echo(adopted.advice)


def _address(variable: str | None, file: Path | None) -> tuple[str, str]:
    """Return the other database's address, and what to call where it came from."""
    if file is not None:
        return file.read_text().strip(), str(file)
    dsn = os.environ.get(variable or "")
    if not dsn:
        raise click.UsageError(f"the variable {variable} is not set")
    return dsn, str(variable)
