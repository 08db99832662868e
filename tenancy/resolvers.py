"""From an ASGI scope to the key of a tenant. Pure: no input or output, no registry.

The host is read from the raw header: frameworks disagree about what a malformed one means, and a
tenant must not depend on who parses it.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from tenancy import identifiers
from tenancy.errors import MalformedHostError, MisdirectedHostError, UnknownTenantError

Scope = Mapping[str, Any]

MAX_HOST_BYTES = 255
CACHED_HOSTS = 10_000

# RFC 9110, section 7.2: uri-host [ ":" port ]; of uri-host only what DNS and address literals need.
_HOST = re.compile(r"(?P<name>[a-z0-9.-]+|\[(?P<address>[0-9a-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")


class KeyKind(StrEnum):
    """Which column of the registry a key is looked up in."""

    SLUG = "slug"
    DOMAIN = "domain"
    ID = "id"


@dataclass(frozen=True, slots=True)
class TenantKey:
    """What a request says about its tenant; only the registry knows whether there is one."""

    kind: KeyKind
    name: str


Resolver = Callable[[Scope], TenantKey]


def by_subdomain(*base_domains: str) -> Resolver:
    """Tenants are the sub-domains of *base_domains*, one label deep: ``acme.example.com``.

    Any other host is refused (421), a sub-domain that cannot be a tenant is unknown (404).
    """
    bases = _checked(base_domains)

    def resolve(scope: Scope) -> TenantKey:
        name = host(scope)
        key = _subdomain(name, bases)
        if key is None:
            raise MisdirectedHostError(f"{name!r} is no sub-domain of {', '.join(bases)}")
        return key

    return resolve


def by_host(*base_domains: str) -> Resolver:
    """Sub-domains of *base_domains* as `by_subdomain`; any other host may be a custom domain."""
    bases = _checked(base_domains)

    def resolve(scope: Scope) -> TenantKey:
        name = host(scope)
        return _subdomain(name, bases) or _custom(name, bases)

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
    values = [value for key, value in scope["headers"] if key.lower() == b"host"]
    if len(values) != 1:
        raise MalformedHostError(f"the request has {len(values)} Host headers, and must have one")
    return _name(values[0])


@lru_cache(maxsize=CACHED_HOSTS)
def _name(value: bytes) -> str:
    # latin-1 maps every byte, and the pattern admits ASCII only.
    text = value.strip(b" \t").decode("latin-1")
    match = (
        _HOST.fullmatch(text.lower()) if len(text) <= MAX_HOST_BYTES and text.isascii() else None
    )
    if match is None or not _is_port(match["port"]):
        raise MalformedHostError("the Host header is not a host name with an optional port")
    if match["address"] is not None:
        return _address(match["address"])
    name = match["name"].removesuffix(".")
    if not identifiers.is_host_name(name):
        raise MalformedHostError("the Host header holds a label that is no label of DNS")
    return name


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
def _subdomain(name: str, bases: tuple[str, ...]) -> TenantKey | None:
    """Return the key below the longest base that *name* is under; None where it is under none."""
    for base in sorted(bases, key=len, reverse=True):
        if name == base:
            return None
        if name.endswith(f".{base}"):
            label = name.removesuffix(f".{base}")
            if not identifiers.is_slug(label) or identifiers.is_reserved(label):
                raise UnknownTenantError(f"{label!r} is no tenant's slug")
            return TenantKey(KeyKind.SLUG, label)
    return None


def _custom(name: str, bases: tuple[str, ...]) -> TenantKey:
    if name in bases or "." not in name or ":" in name or name.rsplit(".", 1)[1].isdigit():
        raise MisdirectedHostError(f"{name!r} is an address or a base domain, never a tenant's")
    return TenantKey(KeyKind.DOMAIN, name)
