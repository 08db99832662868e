"""`python -m tenancy tenants domains`."""

import json

import click

from tenancy.commands.common import (
    as_administrator,
    json_option,
    print_one,
    print_table,
    reason_option,
)
from tenancy.commands.slugs import domain_argument, slug_argument
from tenancy.commands.tenants import tenants
from tenancy.provision import Domain


@tenants.group()
def domains() -> None:
    """Custom domains: whose they are, and which one is primary."""


@domains.command(name="list")
@slug_argument
@json_option
def list_(slug: str, *, as_json: bool) -> None:
    """List the domains of the tenant SLUG, the primary one first.

    Example: python -m tenancy tenants domains list acme
    """
    found = as_administrator(lambda admin: admin.domains(slug))
    if as_json:
        for domain in found:
            click.echo(json.dumps(domain.as_json()))
        return
    print_table(("domain", "primary", "verified"), map(_row, found))
    for domain in found:
        if domain.verified_at is None:
            click.echo(f"\n{_record(domain)}")


@domains.command()
@slug_argument
@click.argument("name")
@click.option("--verified", is_flag=True, help="You vouch that it is theirs: serve it at once.")
@reason_option
@json_option
def add(slug: str, name: str, reason: str | None, *, verified: bool, as_json: bool) -> None:
    """Add the domain NAME to the tenant SLUG, and print the TXT record that it has to set.

    Example: python -m tenancy tenants domains add acme notes.acme.example
    """
    domain = as_administrator(
        lambda admin: admin.add_domain(slug, name, verified=verified), reason=reason
    )
    if as_json:
        click.echo(json.dumps(domain.as_json()))
    else:
        click.echo(_next(slug, domain))


@domains.command()
@slug_argument
@domain_argument
@reason_option
@json_option
def verify(slug: str, name: str, reason: str | None, *, as_json: bool) -> None:
    """Serve the domain NAME of the tenant SLUG if its TXT record is set; exit code 5 if it is not.

    Example: python -m tenancy tenants domains verify acme notes.acme.example
    """
    profile = as_administrator(lambda admin: admin.verify_domain(slug, name), reason=reason)
    print_one(profile, as_json=as_json)


@domains.command()
@slug_argument
@domain_argument
@reason_option
@json_option
def primary(slug: str, name: str, reason: str | None, *, as_json: bool) -> None:
    """Let NAME be the domain by which the tenant SLUG is best reached.

    Example: python -m tenancy tenants domains primary acme notes.acme.example
    """
    profile = as_administrator(lambda admin: admin.make_primary(slug, name), reason=reason)
    print_one(profile, as_json=as_json)


@domains.command()
@slug_argument
@domain_argument
@reason_option
@json_option
def remove(slug: str, name: str, reason: str | None, *, as_json: bool) -> None:
    """Take the domain NAME from the tenant SLUG; requests for it are refused (421).

    Example: python -m tenancy tenants domains remove acme notes.acme.example
    """
    profile = as_administrator(lambda admin: admin.remove_domain(slug, name), reason=reason)
    print_one(profile, as_json=as_json)


def _row(domain: Domain) -> tuple[str, ...]:
    verified = f"{domain.verified_at:%Y-%m-%d}" if domain.verified_at else "no"
    return domain.name, "yes" if domain.is_primary else "-", verified


def _next(slug: str, domain: Domain) -> str:
    """Return what is to be done next about *domain*."""
    if domain.verified_at is not None:
        return f"{domain.name} is served as {slug}'s."
    return (
        "To show that it is theirs, have them set in DNS:\n\n"
        f"    {_record(domain)}\n\n"
        f"Then run: python -m tenancy tenants domains verify {slug} {domain.name}"
    )


def _record(domain: Domain) -> str:
    """Return the TXT record of *domain*, as a zone file has it."""
    return f'{domain.record_name}.  TXT  "{domain.challenge}"'
