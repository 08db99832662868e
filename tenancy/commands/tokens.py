"""`python -m tenancy tokens`: who may use the operator's HTTP API."""

import json

import click

from tenancy.commands.common import as_administrator, json_option, print_table
from tenancy.provision.tokens import DEFAULT_DAYS, MAX_DAYS, Scope, Token


@click.group()
def tokens() -> None:
    """Make, list and revoke the bearer tokens of the operator's API.

    Example: python -m tenancy tokens list
    """


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it allows; repeatable, and none includes another.",
)
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True, max=MAX_DAYS),
    default=DEFAULT_DAYS,
    show_default=True,
    help="After which it is good for nothing.",
)
@json_option
def create(name: str, scopes: tuple[str, ...], days: float, *, as_json: bool) -> None:
    """Make a token, called NAME in the audit, and print it: this once, for nobody keeps it.

    Example: python -m tenancy tokens create billing --scope read --scope write --days 30
    """
    allowed = [Scope(scope) for scope in scopes]
    made, text = as_administrator(lambda admin: admin.create_token(name, allowed, days=days))
    if as_json:
        click.echo(json.dumps({**made.as_json(), "token": text}))
        return
    click.echo(f"{name} is good until {made.expires_at:%Y-%m-%d %H:%M %Z}; keep it:", err=True)
    click.echo(text)


@tokens.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all tokens that were ever made, without their secrets.

    Example: python -m tenancy tokens list
    """
    found = as_administrator(lambda admin: admin.tokens())
    if as_json:
        for token in found:
            click.echo(json.dumps(token.as_json()))
        return
    print_table(("name", "state", "scopes", "expires", "last used"), map(_row, found))


@tokens.command()
@click.argument("name")
@json_option
def revoke(name: str, *, as_json: bool) -> None:
    """Let the token called NAME be good for nothing, from its next request on.

    Example: python -m tenancy tokens revoke billing
    """
    token = as_administrator(lambda admin: admin.revoke_token(name))
    click.echo(json.dumps(token.as_json()) if as_json else f"{name} is revoked")


def _row(token: Token) -> tuple[str, ...]:
    used = f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never"
    expires = f"{token.expires_at:%Y-%m-%d %H:%M}"
    return token.name, token.state, ", ".join(token.scopes), expires, used
