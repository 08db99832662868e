"""`python -m tenancy audit`."""

from datetime import datetime
from uuid import UUID

import click

from tenancy.commands.common import as_administrator, json_option
from tenancy.commands.entries import before_option, limit_option, print_entries
from tenancy.commands.slugs import slugs
from tenancy.provision import Step
from tenancy.provision.audit import Outcome, Wanted


@click.command()
@click.option("--slug", metavar="SLUG", shell_complete=slugs, help="Asked for by this name.")
@click.option(
    "--tenant-id", type=click.UUID, metavar="ID", help="Of this tenant, whatever its name."
)
@click.option("--action", type=click.Choice([str(step) for step in Step]), help="Of this kind.")
@click.option("--actor", metavar="NAME", help="By this account or token.")
@click.option(
    "--outcome", type=click.Choice([str(each) for each in Outcome]), help="That ended so."
)
@click.option(
    "--since", type=click.DateTime(), metavar="TIME", help="Then or later, in local time."
)
@limit_option
@before_option
@json_option
def audit(
    slug: str | None,
    tenant_id: UUID | None,
    action: str | None,
    actor: str | None,
    outcome: str | None,
    since: datetime | None,
    limit: int,
    before: int | None,
    *,
    as_json: bool,
) -> None:
    """Show who did what to which tenant, when, from where, with what outcome: newest first.

    Example: python -m tenancy audit --action purge --since 2026-01-01 --json
    """
    wanted = Wanted(
        tenant_id=tenant_id,
        slug=slug,
        action=action,
        actor=actor,
        outcome=Outcome(outcome) if outcome else None,
        since=since and since.astimezone(),
        before=before,
        limit=limit,
    )
    found = as_administrator(lambda admin: admin.entries(wanted))
    print_entries(found, limit=limit, as_json=as_json)
