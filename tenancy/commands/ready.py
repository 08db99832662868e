"""`python -m tenancy tenants ready`."""

import json

import click

from tenancy.commands.common import as_administrator, json_option
from tenancy.commands.tenants import tenants
from tenancy.provision import Administrator
from tenancy.provision.ready import Stock


@tenants.command()
@click.option(
    "--fill", is_flag=True, help="Make what is missing up to TENANCY_READY_SCHEMAS; drop the rest."
)
@json_option
def ready(*, fill: bool, as_json: bool) -> None:
    """Show how many schemas are ready for new tenants.

    Example: python -m tenancy tenants ready --fill
    """

    async def operation(admin: Administrator) -> Stock:
        if fill:
            await admin.refill()
        return await admin.stock()

    stock = as_administrator(operation)
    if as_json:
        click.echo(json.dumps(stock.as_json()))
        return
    click.echo(f"{stock.ready} of {stock.wanted} are ready, {stock.stale} are stale")
