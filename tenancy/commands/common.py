"""What the commands share."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from tenancy import embedded, provision
from tenancy import settings as settings_module
from tenancy.provision import Administrator, Profile
from tenancy.settings import Settings

Result = TypeVar("Result")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask to type the slug; for scripts.")


def confirmed(slug: str, yes: bool) -> None:  # noqa: FBT001 - what --yes gave
    """Pass if somebody types *slug*, or has said ``--yes`` beforehand.

    Raises:
        click.UsageError: something else was typed, or nobody is there to type.
    """
    if yes:
        return
    try:
        typed = click.prompt(f"Type {slug} to go on", default="", show_default=False, err=True)
    except click.Abort as error:
        raise click.UsageError("nobody answered, nothing was changed: add --yes") from error
    if typed != slug:
        raise click.UsageError(f"that is not {slug}: nothing was changed")


def as_administrator(operation: Callable[[Administrator], Awaitable[Result]]) -> Result:
    """Run *operation* with an administrator of the configured database; return what it does."""

    async def run(configured: Settings) -> Result:
        async with provision.administrator(configured) as admin:
            return await operation(admin)

    with embedded.configured(settings_module.load()) as configured:
        return asyncio.run(run(configured))


def print_one(profile: Profile, *, as_json: bool) -> None:
    """Print *profile*, for people or for programs."""
    members = profile.as_json()
    if as_json:
        click.echo(json.dumps(members))
        return
    for name, value in members.items():
        text = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name:<25} {text or '-'}")
