"""Tenants on the command line: completed by the shell."""

import asyncio
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from tenancy import deployment
from tenancy.pool.connect import connect
from tenancy.settings import Settings

PATIENCE_SECONDS = 2.0
MOST = 100

_SLUGS = """
    SELECT slug, state FROM tenancy.tenants
    WHERE starts_with(slug, $1) ORDER BY slug LIMIT $2
"""
_DOMAINS = """
    SELECT d.name, t.slug FROM tenancy.domains d JOIN tenancy.tenants t ON t.id = d.tenant_id
    WHERE starts_with(d.name, $1) AND (t.slug = $3 OR $3 IS NULL) ORDER BY d.name LIMIT $2
"""


def slugs(
    ctx: click.Context,  # noqa: ARG001 - click's
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Return the slugs that begin with *incomplete*, with their states for shells that show them.

    None where the database does not answer: a shell's prompt is no place for an error. No server is
    started for it.
    """
    return _found(_SLUGS, incomplete)


def domains(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Return the domains that begin with *incomplete*, of the tenant named before it."""
    return _found(_DOMAINS, incomplete, ctx.params.get("slug"))


slug_argument = click.argument("slug", shell_complete=slugs)
domain_argument = click.argument("name", shell_complete=domains)


def _found(query: str, incomplete: str, *more: object) -> list[CompletionItem]:
    with suppress(Exception):
        return asyncio.run(_asked(deployment.settings(), query, incomplete, MOST, *more))
    return []


async def _asked(settings: Settings, query: str, *args: object) -> list[CompletionItem]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        conn = await connect(settings, as_admin=True)
        try:
            return [CompletionItem(row[0], help=row[1]) for row in await conn.fetch(query, *args)]
        finally:
            conn.terminate()  # says no farewell, which could take as long as the rest
