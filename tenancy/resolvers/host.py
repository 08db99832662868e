"""The tenant of a host.

The host is read from the raw header: frameworks disagree about what a malformed one means, and a
tenant must not depend on who parses it.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from tenancy import identifiers
from tenancy.errors import MalformedHostError, MisdirectedHostError, UnknownTenantError
from tenancy.resolvers.keys import KeyKind, Resolver, Scope, TenantKey

MAX_HOST_BYTES = 255
CACHED_HOSTS = 10_000

# RFC 9110, section 7.2: uri-host [ ":" port ]; of uri-host only what DNS and address literals need.
_HOST = re.compile(r"(?P<name>[a-z0-9.-]+|\[(?P<address>[0-9a-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")


def by_subdomain(*base_domains: str) -> Resolver:
    """Tenants are the sub-domains of *base_domains*, one label deep: ``acme.example.com``.

    Any other host is refused (421), a sub-domain that cannot be a tenant is unknown (404). In a
    `chain` both a host that is not below *base_domains* and a reserved name, such as
    ``api.example.com``, say nothing.
    """
    bases = _checked(base_domains)

    def resolve(scope: Scope) -> TenantKey | None:
        name = host(scope)
        if not _is_below(name, bases):
            raise MisdirectedHostError(f"{name!r} is no sub-domain of {', '.join(bases)}")
        return _subdomain(name, bases)

    return resolve


def by_host(*base_domains: str) -> Resolver:
    """Sub-domains of *base_domains* as `by_subdomain`; any other host may be a custom domain."""
    bases = _checked(base_domains)

    def resolve(scope: Scope) -> TenantKey | None:
        name = host(scope)
        return _subdomain(name, bases) if _is_below(name, bases) else _custom(name, bases)

    return resolve


def by_domain() -> Resolver:
    """Tenants are reached by their custom domains only."""

    def resolve(scope: Scope) -> TenantKey:
        return _custom(host(scope), ())

    return resolve


def host(scope: Scope) -> str:
    """Return the host of *scope* in lower case, without port and final dot.

    Forwarded headers are not read: any client can send them.

    Raises:
        MalformedHostError: there is no host, there are two, or it is not a name or an address.
    """
    return _authority(scope)[0]


def port(scope: Scope) -> str:
    """Return the port in the Host header of *scope*, as digits; empty where it names none.

    Raises:
        MalformedHostError: as `host`.
    """
    return _authority(scope)[1]


def _authority(scope: Scope) -> tuple[str, str]:
    values = [value for key, value in scope["headers"] if key.lower() == b"host"]
    if len(values) != 1:
        raise MalformedHostError(f"the request has {len(values)} Host headers, and must have one")
    return _parsed(values[0])


@lru_cache(maxsize=CACHED_HOSTS)
def _parsed(value: bytes) -> tuple[str, str]:
    # latin-1 maps every byte, and the pattern admits ASCII only.
    text = value.strip(b" \t").decode("latin-1")
    match = (
        _HOST.fullmatch(text.lower()) if len(text) <= MAX_HOST_BYTES and text.isascii() else None
    )
    if match is None or not _is_port(match["port"]):
        raise MalformedHostError("the Host header is not a host name with an optional port")
    digits = match["port"] or ""
    if match["address"] is not None:
        return _address(match["address"]), digits
    name = match["name"].removesuffix(".")
    if not identifiers.is_host_name(name):
        raise MalformedHostError("the Host header holds a label that is no label of DNS")
    return name, digits


def _is_port(digits: str | None) -> bool:
    return digits is None or 0 < int(digits) <= 65_535  # noqa: PLR2004 - the largest TCP port


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise MalformedHostError("the Host header holds an address that is none") from None


def _checked(base_domains: Iterable[str]) -> tuple[str, ...]:
    bases = tuple(name.lower().removesuffix(".") for name in base_domains)
    for name in bases:
        if not identifiers.is_host_name(name):
            raise ValueError(
                f"{name!r} cannot be a base domain: use a host name such as example.com"
            )
    if not bases:
        raise ValueError("name at least one base domain, such as example.com")
    return bases


@lru_cache(maxsize=CACHED_HOSTS)
def _is_below(name: str, bases: tuple[str, ...]) -> bool:
    return name not in bases and name.endswith(tuple(f".{base}" for base in bases))


@lru_cache(maxsize=CACHED_HOSTS)
def _subdomain(name: str, bases: tuple[str, ...]) -> TenantKey | None:
    """Return the key below the longest base that *name* is under; None: it names no tenant."""
    base = max((base for base in bases if name.endswith(f".{base}")), key=len)
    label = name.removesuffix(f".{base}")
    if not identifiers.is_slug(label):
        raise UnknownTenantError(f"{label!r} is no tenant's slug")
    return None if identifiers.is_reserved(label) else TenantKey(KeyKind.SLUG, label, of_host=True)


def _custom(name: str, bases: tuple[str, ...]) -> TenantKey:
    if name in bases or "." not in name or ":" in name or name.rsplit(".", 1)[1].isdigit():
        raise MisdirectedHostError(f"{name!r} is an address or a base domain, never a tenant's")
    return TenantKey(KeyKind.DOMAIN, name, of_host=True)
