"""`python -m tenancy admin`: the operator's HTTP API, served."""

import ipaddress
import logging
import sys

import click

from tenancy import serve as serving

APPLICATION = "tenancy.admin:create_admin_app()"
PORT = 8001

_log = logging.getLogger(__name__)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="To listen on.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes."
)
def admin(host: str, port: int, workers: int) -> None:
    """Serve the operator's HTTP API; `tokens create` makes the tokens that it asks for.

    It answers at addresses, at localhost and at TENANCY_OPERATOR_HOSTS.
    Example: python -m tenancy admin --port 8001
    """
    if not _is_loopback(host):
        _log.warning("tokens cross the network in clear text: put a proxy with TLS in front")
    sys.exit(serving.serve(serving.Options(APPLICATION, host, port, workers)))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
