"""What a request can say about its tenant."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from tenancy import identifiers
from tenancy.errors import InvalidDomainError

Scope = Mapping[str, Any]

UUID_LENGTH = 36  # RFC 9562, section 4; Python's own parser takes braces and "urn:uuid:" too


class KeyKind(StrEnum):
    """Which column of the registry a key is looked up in."""

    SLUG = "slug"
    DOMAIN = "domain"
    ID = "id"
    FORMER_SLUG = "former slug"
    """Leads to where its tenant has gone, for a redirect; never to the tenant. No resolver's."""


@dataclass(frozen=True, slots=True)
class TenantKey:
    """What a request says about its tenant; only the registry knows whether there is one.

    Attributes:
        kind: the registry's column.
        name: what is looked up there.
        of_host: whether it is the host that says so. Such a request may be redirected to the
            tenant's primary domain.
    """

    kind: KeyKind
    name: str
    of_host: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Found:
    """All that resolvers found in one request.

    Attributes:
        keys: each must lead to the same tenant; none: nothing is said about it.
        prefix: leading part of the path that named the tenant, for the scope's ``root_path``.
        principal: on whose behalf the request comes, where a resolver has verified that.
    """

    keys: tuple[TenantKey, ...] = ()
    prefix: str = ""
    principal: Any = None


Resolver = Callable[[Scope], TenantKey | Found | None]


def key_of(kind: KeyKind, text: str) -> TenantKey | None:
    """Return the key that *text* is, in the registry's own spelling; None: it is none.

    A reserved slug has the form of one: no tenant has it, and the registry says so.
    """
    match kind:
        case KeyKind.SLUG:
            return TenantKey(kind, text) if identifiers.is_slug(text) else None
        case KeyKind.ID:
            try:
                number = UUID(text) if len(text) == UUID_LENGTH else None
            except ValueError:
                return None
            return TenantKey(kind, str(number)) if number is not None else None
        case KeyKind.DOMAIN:
            try:
                return TenantKey(kind, identifiers.domain(text))
            except InvalidDomainError:
                return None
        case KeyKind.FORMER_SLUG:
            return None


def found(said: TenantKey | Found | None) -> Found:
    """Return what a resolver has returned, as `Found`."""
    if isinstance(said, TenantKey):
        return Found((said,))
    return said if said is not None else Found()
