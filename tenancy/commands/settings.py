"""`python -m tenancy settings`."""

import click

from tenancy import settings as settings_module


@click.command()
def settings() -> None:
    """Print every setting, what it means and its default, as an example of a .env file.

    Example: python -m tenancy settings > .env
    """
    click.echo(settings_module.example(), nl=False)
