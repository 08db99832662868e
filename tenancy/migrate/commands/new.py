"""The command that writes a file to fill in: new."""

import click

from tenancy import deployment
from tenancy.exits import exit_codes
from tenancy.migrate.commands.common import debug_option, json_option, print_lines, print_objects
from tenancy.migrate.files import new as files


@click.command()
@click.argument("name")
@click.option("--shared", is_flag=True, help="For the shared schema, not for the tenants.")
@click.option("--python", is_flag=True, help="A migration in Python.")
@json_option
@debug_option
def new(name: str, *, shared: bool, python: bool, as_json: bool, debug: bool) -> None:
    """Write the next migration's file, and print its path.

    Its version and layout follow the files that are there; it is never written over another.

    Example: python -m tenancy.migrate new "add notes pinned"
    """
    with exit_codes(debug=debug):
        paths = files.create(deployment.settings(), name, shared=shared, python=python)
        if as_json:
            print_objects({"path": str(path)} for path in paths)
        else:
            print_lines(str(path) for path in paths)
