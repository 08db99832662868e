"""`python -m tenancy reports`."""

import json
from collections.abc import Sequence

import click

from tenancy.commands.common import as_administrator, confirmed, json_option, print_table
from tenancy.reports.records import Report

yes_option = click.option("--yes", is_flag=True, help="Do not ask to type the name; for scripts.")


@click.group()
def reports() -> None:
    """Read one table of all tenants as one view, with the role that may.

    Example: python -m tenancy reports create notes --table notes --reader analyst
    """


@reports.command()
@click.argument("name")
@click.option("--table", required=True, help="The table, in each tenant's schema.")
@click.option("--columns", metavar="A,B", help="Those to show, in order. Unset: all of them.")
@click.option(
    "--reader", metavar="ROLE", help="Who may read it. Unset: the role of TENANCY_REPORTS_ROLE."
)
@json_option
def create(
    name: str, table: str, columns: str | None, reader: str | None, *, as_json: bool
) -> None:
    """Make the view tenancy_reports.NAME over a table of every tenant.

    Its first columns are the tenant's slug and id.

    Example: python -m tenancy reports create notes --table notes --columns id,body
    """
    chosen = None if columns is None else [one.strip() for one in columns.split(",")]
    report = as_administrator(
        lambda admin: admin.create_report(name, table, columns=chosen, reader=reader)
    )
    _print([report], as_json=as_json)


@reports.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all reports by name.

    Example: python -m tenancy reports list --json
    """
    _print(as_administrator(lambda admin: admin.reports()), as_json=as_json)


@reports.command()
@click.argument("name")
@yes_option
@json_option
def drop(name: str, *, yes: bool, as_json: bool) -> None:
    """Drop the report NAME. No tenant's rows are touched.

    Example: python -m tenancy reports drop notes --yes
    """
    confirmed(name, yes)
    as_administrator(lambda admin: admin.drop_report(name))
    click.echo(json.dumps({"dropped": name}) if as_json else f"dropped the report {name}")


@reports.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
def refresh(names: Sequence[str], *, as_json: bool) -> None:
    """Let reports read the tenants and columns that there are now; by default all of them.

    `maintain` does so every minute. Prints those that have changed.

    Example: python -m tenancy reports refresh notes
    """
    _print(as_administrator(lambda admin: admin.refresh_reports(names)), as_json=as_json)


def _print(found: Sequence[Report], *, as_json: bool) -> None:
    if as_json:
        for report in found:
            click.echo(json.dumps(report.as_json()))
        return
    print_table(("view", "table", "columns", "tenants", "reader", "state"), map(_row, found))


def _row(report: Report) -> tuple[str, ...]:
    columns = ", ".join(report.columns) if report.columns else "all"
    state = "aside: its tables are being changed" if report.aside_at else "works"
    view = report.as_json()["view"]
    return view, report.table, columns, str(report.tenants), report.reader, state
