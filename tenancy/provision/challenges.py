"""Whose a domain is, asked of DNS: whoever can set its TXT record can have it served."""

import secrets
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from tenancy import identifiers
from tenancy import settings as settings_module
from tenancy.errors import InvalidDomainError, NameServerError
from tenancy.settings import Settings

LABEL = "_tenancy-challenge"
LOOKUP_SECONDS = 10.0  # for all servers together, each asked again where it is silent


def new() -> str:
    """Return a challenge that nobody can guess, and that no other domain has."""
    return f"tenancy-{secrets.token_hex(20)}"


def record_name(domain: str) -> str:
    """Return the name of the TXT record that must hold the challenge of *domain*."""
    return f"{LABEL}.{domain}"


def check(domain: str) -> None:
    """Refuse a domain whose record could have no name.

    Raises:
        InvalidDomainError: it is too long.
    """
    if len(record_name(domain)) > identifiers.MAX_DOMAIN_LENGTH:
        raise InvalidDomainError(
            f"{domain!r} is too long: {LABEL} in front of it would be longer than DNS allows"
        )


async def held(domain: str, settings: Settings) -> tuple[str, ...]:
    """Return the texts of the TXT records that *domain* has for challenges; none: there are none.

    A CNAME there is followed, so that a zone can leave the record to somebody else.

    Raises:
        NameServerError: no server says, or says that it cannot.
    """
    try:
        resolver = _resolver(settings.dns_servers)
        answer = await resolver.resolve(
            record_name(domain) + ".", dns.rdatatype.TXT, lifetime=LOOKUP_SECONDS, search=False
        )
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ()
    except (dns.exception.DNSException, OSError) as error:
        raise NameServerError(
            f"no name server says what TXT record {record_name(domain)} has "
            f"({type(error).__name__}): try later; see TENANCY_DNS_SERVERS"
        ) from error
    # RFC 1035, section 3.3.14: one text may come in several strings of 255 bytes.
    return tuple(b"".join(each.strings).decode("utf-8", "replace") for each in answer)


def _resolver(servers: Sequence[str]) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [
            dns.nameserver.Do53Nameserver(*settings_module.name_server(server))
            for server in servers
        ]
    return resolver
