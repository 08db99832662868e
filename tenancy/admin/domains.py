"""A tenant's custom domains: list, add, remove, verify, make primary."""

from typing import Any

from quart import Blueprint
from quart_schema import tag_blueprint, validate_request, validate_response

from tenancy.admin.asked import NewDomain
from tenancy.admin.gate import administrator
from tenancy.admin.marks import needs
from tenancy.admin.models import Domain, Domains, Tenant
from tenancy.provision.tokens import Scope

blueprint = Blueprint("domains", __name__, url_prefix="/v1/tenants/<slug:slug>/domains")
tag_blueprint(blueprint, ["domains"])


@blueprint.get("")
@needs(Scope.READ)
@validate_response(Domains)
async def list_domains(slug: str) -> dict[str, Any]:
    """List all domains of a tenant, with the challenges of those that are not verified."""
    async with administrator() as admin:
        return {"domains": [domain.as_json() for domain in await admin.domains(slug)]}


@blueprint.post("")
@needs(Scope.WRITE, if_match=False)
@validate_request(NewDomain)
@validate_response(Domain, 201)
async def add_domain(slug: str, data: NewDomain) -> tuple[dict[str, Any], int]:
    """Add a domain; it is served once it is verified, or at once where you vouch for it."""
    async with administrator() as admin:
        domain = await admin.add_domain(slug, data.name, verified=data.verified)
    return domain.as_json(), 201


@blueprint.delete("/<string(maxlength=253):name>")
@needs(Scope.WRITE, if_match=False)
async def remove_domain(slug: str, name: str) -> tuple[str, int]:
    """Take a domain from a tenant."""
    async with administrator() as admin:
        await admin.remove_domain(slug, name)
    return "", 204


@blueprint.post("/<string(maxlength=253):name>/verify")
@needs(Scope.WRITE, if_match=False)
@validate_response(Tenant)
async def verify_domain(slug: str, name: str) -> dict[str, Any]:
    """Ask DNS for a domain's challenge, and serve the domain from now on."""
    async with administrator() as admin:
        return (await admin.verify_domain(slug, name)).as_json()


@blueprint.post("/<string(maxlength=253):name>/primary")
@needs(Scope.WRITE, if_match=False)
@validate_response(Tenant)
async def make_domain_primary(slug: str, name: str) -> dict[str, Any]:
    """Let a verified domain be the one by which the tenant is best reached."""
    async with administrator() as admin:
        return (await admin.make_primary(slug, name)).as_json()
