"""Tenants: list, make, show, change, delete."""

from datetime import timedelta
from typing import Any

from quart import Blueprint, Response, request
from quart_schema import tag_blueprint, validate_querystring, validate_request, validate_response

from tenancy.admin.asked import Because, Change, Deletion, NewTenant, TenantQuery
from tenancy.admin.gate import administrator, stock
from tenancy.admin.marks import needs
from tenancy.admin.models import Tenant, Tenants
from tenancy.provision import Administrator, Profile
from tenancy.provision.tokens import Scope

blueprint = Blueprint("tenants", __name__, url_prefix="/v1/tenants")
tag_blueprint(blueprint, ["tenants"])

Answered = tuple[dict[str, Any], int, dict[str, str]]


@blueprint.get("")
@needs(Scope.READ)
@validate_querystring(TenantQuery)
@validate_response(Tenants)
async def list_tenants(query_args: TenantQuery) -> dict[str, Any]:
    """List tenants by slug, a page at a time.

    `search` is part of a slug, of a former one or of a domain, or an id.
    """
    async with administrator() as admin:
        found = await admin.page(
            states=query_args.state,
            search=query_args.search or None,
            after=query_args.after or None,
            limit=query_args.limit + 1,
        )
    page = found[: query_args.limit]
    return {
        "tenants": [profile.as_json() for profile in page],
        "next": page[-1].tenant.slug if len(found) > len(page) else None,
    }


@blueprint.post("")
@needs(Scope.WRITE, idempotency_key=True)
@validate_request(NewTenant)
@validate_response(Tenant, 201)
async def create_tenant(data: NewTenant) -> Answered:
    """Make a tenant with its schema and all its tables, or nothing at all.

    Sent again with the same `Idempotency-Key` within 24 hours, it answers with the same tenant.
    """
    async with administrator() as admin:
        profile = await admin.create(
            data.slug, data.domains, idempotency_key=request.headers.get("Idempotency-Key")
        )
    stock().taken()
    location = {"Location": f"{request.script_root}/v1/tenants/{profile.tenant.slug}"}
    return profile.as_json(), 201, {**_etag(profile), **location}


@blueprint.get("/<slug:slug>")
@needs(Scope.READ, if_none_match=True)
@validate_response(Tenant)
async def show_tenant(slug: str) -> Answered | Response:
    """Show a tenant."""
    async with administrator() as admin:
        profile = await admin.show(slug)
    if profile.etag in request.if_none_match:
        return Response("", 304, _etag(profile))
    return _answered(profile)


@blueprint.patch("/<slug:slug>")
@needs(Scope.WRITE, if_match=True)
@validate_request(Change)
@validate_response(Tenant)
async def change_tenant(slug: str, data: Change) -> Answered:
    """Change a tenant's slug, its state or its limits: one of them."""
    async with administrator() as admin:
        return _answered(await _changed(admin, slug, data))


@blueprint.delete("/<slug:slug>")
@needs(Scope.DELETE, if_match=True)
@validate_querystring(Deletion)
@validate_response(Tenant)
async def delete_tenant(slug: str, query_args: Deletion) -> Answered:
    """Serve a tenant no more; it can be restored until `purge_at`."""
    days = query_args.grace_days
    async with administrator() as admin:
        profile = await admin.delete(
            slug,
            after=None if days is None else timedelta(days=days),
            reason=query_args.reason or None,
        )
    return _answered(profile)


@blueprint.post("/<slug:slug>/suspend")
@needs(Scope.WRITE, if_match=False)
@validate_request(Because)
@validate_response(Tenant)
async def suspend_tenant(slug: str, data: Because) -> Answered:
    """Refuse a tenant's requests until it is resumed."""
    async with administrator() as admin:
        return _answered(await admin.suspend(slug, reason=data.reason))


@blueprint.post("/<slug:slug>/read-only")
@needs(Scope.WRITE, if_match=False)
@validate_request(Because)
@validate_response(Tenant)
async def make_tenant_read_only(slug: str, data: Because) -> Answered:
    """Refuse a tenant's writes until it is resumed."""
    async with administrator() as admin:
        return _answered(await admin.make_read_only(slug, reason=data.reason))


@blueprint.post("/<slug:slug>/resume")
@needs(Scope.WRITE, if_match=False)
@validate_request(Because)
@validate_response(Tenant)
async def resume_tenant(slug: str, data: Because) -> Answered:
    """Serve a suspended or read-only tenant again."""
    async with administrator() as admin:
        return _answered(await admin.resume(slug, reason=data.reason))


@blueprint.post("/<slug:slug>/restore")
@needs(Scope.WRITE, if_match=False)
@validate_request(Because)
@validate_response(Tenant)
async def restore_tenant(slug: str, data: Because) -> Answered:
    """Let a deleted tenant be what it was before."""
    async with administrator() as admin:
        return _answered(await admin.restore(slug, reason=data.reason))


async def _changed(admin: Administrator, slug: str, change: Change) -> Profile:
    if change.slug is not None:
        return await admin.rename(slug, change.slug, redirect=change.redirect)
    match change.state:
        case "suspended":
            return await admin.suspend(slug, reason=change.reason)
        case "read_only":
            return await admin.make_read_only(slug, reason=change.reason)
        case "active":
            return await admin.resume(slug, reason=change.reason)
        case None:
            return await admin.limit(slug, change.limits)


def _answered(profile: Profile) -> Answered:
    return profile.as_json(), 200, _etag(profile)


def _etag(profile: Profile) -> dict[str, str]:
    return {"ETag": f'"{profile.etag}"'}
