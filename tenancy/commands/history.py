"""`python -m tenancy tenants history`."""

from tenancy.commands.common import as_administrator, json_option
from tenancy.commands.entries import before_option, limit_option, print_entries
from tenancy.commands.slugs import slug_argument
from tenancy.commands.tenants import tenants


@tenants.command()
@slug_argument
@limit_option
@before_option
@json_option
def history(slug: str, limit: int, before: int | None, *, as_json: bool) -> None:
    """Show what was done to the tenant that is called SLUG, or was last: newest first.

    It follows the tenant, whatever it was called. `audit --slug` shows all who had the name.

    Example: python -m tenancy tenants history acme --limit 20
    """
    found = as_administrator(lambda admin: admin.history(slug, before=before, limit=limit))
    print_entries(found, limit=limit, as_json=as_json)
