"""`python -m tenancy serve`."""

import sys

import click

from tenancy import serve as serving


@click.command()
@click.argument("application", default=serving.APPLICATION)
@click.option("--demo", is_flag=True, help="Serve the notes demo, with tenants acme and globex.")
@click.option("--migrate", "migrates", is_flag=True, help="Apply pending migrations first.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="To listen on.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes."
)
def serve(
    application: str, *, demo: bool, migrates: bool, host: str, port: int, workers: int
) -> None:
    """Serve APPLICATION (module:expression) by hypercorn.

    Example: python -m tenancy serve --demo --port 8080
    """
    if demo and application != serving.APPLICATION:
        raise click.UsageError("--demo serves an application of its own: leave APPLICATION out")
    options = serving.Options(application, host, port, workers, migrate=migrates, demo=demo)
    sys.exit(serving.serve(options))
