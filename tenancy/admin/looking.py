"""What an operator looks at: migrations, the audit, one tenant's history."""

from collections.abc import Sequence
from typing import Any

from quart import Blueprint
from quart_schema import tag, validate_querystring, validate_response

from tenancy import migrate
from tenancy.admin.asked import AuditQuery, MigrationsQuery, Page
from tenancy.admin.gate import administrator, office
from tenancy.admin.marks import needs
from tenancy.admin.models import Entries, Migrations
from tenancy.migrate.report import objects
from tenancy.provision.audit import Entry, Wanted
from tenancy.provision.tokens import Scope

blueprint = Blueprint("looking", __name__, url_prefix="/v1")


@blueprint.get("/migrations")
@needs(Scope.READ)
@tag(["migrations"])
@validate_querystring(MigrationsQuery)
@validate_response(Migrations)
async def show_migrations(query_args: MigrationsQuery) -> dict[str, Any]:
    """Say how the schemas stand beside the files of this process, and which run was the last."""
    tenants = [query_args.tenant] if query_args.tenant else None
    async with office().turn():  # the migrator connects by itself
        found = await migrate.status(office().settings, tenants=tenants)
    named = found.steps[: query_args.limit]
    return {
        **objects.status_object(found),
        "schemas": [objects.step_object(each) for each in named],
    }


@blueprint.get("/audit")
@needs(Scope.AUDIT)
@tag(["audit"])
@validate_querystring(AuditQuery)
@validate_response(Entries)
async def list_entries(query_args: AuditQuery) -> dict[str, Any]:
    """List what was done to any tenant, the newest first."""
    asked = query_args.model_dump(exclude={"limit"})
    async with administrator() as admin:
        found = await admin.entries(Wanted(**asked, limit=query_args.limit + 1))
    return _page(found, query_args.limit)


@blueprint.get("/tenants/<slug:slug>/history")
@needs(Scope.AUDIT)
@tag(["audit"])
@validate_querystring(Page)
@validate_response(Entries)
async def show_history(slug: str, query_args: Page) -> dict[str, Any]:
    """List what was done to the tenant that has this slug, or had it last, the newest first."""
    async with administrator() as admin:
        found = await admin.history(slug, before=query_args.before, limit=query_args.limit + 1)
    return _page(found, query_args.limit)


def _page(found: Sequence[Entry], limit: int) -> dict[str, Any]:
    page = found[:limit]
    return {
        "entries": [entry.as_json() for entry in page],
        "next": page[-1].id if len(found) > limit else None,
    }
