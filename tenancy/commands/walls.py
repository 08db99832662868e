"""`python -m tenancy walls`."""

import click

from tenancy.commands.common import as_administrator


@click.command()
def walls() -> None:
    """Print the SQL that a superuser runs once in the database for TENANCY_ISOLATION=strict.

    Again after CREATE EXTENSION, an upgrade of the server, or a change of a login.
    Example: python -m tenancy walls | psql -X -v ON_ERROR_STOP=1 -d notes
    """
    click.echo(as_administrator(lambda admin: admin.walls()), nl=False)
