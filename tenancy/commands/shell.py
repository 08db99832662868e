"""`python -m tenancy shell`."""

import sys
import time

import click

from tenancy import provision
from tenancy.access import psql, python
from tenancy.access.session import inside
from tenancy.commands.common import with_settings
from tenancy.commands.slugs import slug_argument
from tenancy.provision import Step
from tenancy.provision.lasting import begun
from tenancy.settings import Settings


@click.command()
@slug_argument
@click.option("--reason", metavar="WORDS", required=True, help="Why, for the audit.")
@click.option("--write", is_flag=True, help="Let the session write.")
@click.option("--python", "prompts", is_flag=True, help="A Python prompt instead of psql.")
@click.argument("arguments", nargs=-1, metavar="[-- PSQL_OPTIONS]")
def shell(
    slug: str, reason: str, arguments: tuple[str, ...], *, write: bool, prompts: bool
) -> None:
    """Open psql inside the scope of the tenant SLUG: its schema, its role, read-only.

    The audit has it before it opens, and its end. What follows -- is for psql.
    Example: python -m tenancy shell acme --reason "ticket 4711" -- -c "SELECT count(*) FROM notes"
    """
    if not reason.strip():
        raise click.BadParameter("say why, in words", param_hint="--reason")
    if prompts and arguments:
        raise click.UsageError("a Python prompt takes no options of psql")

    async def run(settings: Settings) -> int:
        detail = {"write": write, "program": "python" if prompts else "psql"}
        async with (
            provision.administrator(settings) as admin,
            begun(admin, Step.SHELL, slug, reason=reason.strip(), detail=detail) as event,
        ):
            tenant = (await admin.show(slug)).tenant
            session = inside(settings, tenant, write=write)
            started = time.monotonic()
            try:
                if prompts:
                    return await python.run(session, tenant)
                return await psql.run(session, arguments)
            finally:
                event.detail["seconds"] = round(time.monotonic() - started)

    sys.exit(with_settings(run))
