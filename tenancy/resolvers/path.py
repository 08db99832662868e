"""The tenant of a path: ``/t/acme/notes``."""

import re

from tenancy import identifiers
from tenancy.errors import MalformedTargetError, NoTenantNamedError, UnknownTenantError
from tenancy.resolvers.keys import Found, KeyKind, Resolver, Scope, TenantKey

# RFC 3986, section 5.2.4; and the backslash, which some servers and browsers take for a slash.
_DOT_SEGMENT = re.compile(r"(?:^|[/\\])\.\.?(?:[/\\]|$)")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")


def by_path(prefix: str = "/t") -> Resolver:
    """The tenant is the segment after *prefix*: ``/t/acme/notes``; with ``""`` the first one.

    The application inside is mounted there: ``/t/acme`` goes to the scope's ``root_path``, so that
    it routes ``/notes`` and builds its links with the tenant in front. With ``""`` a reserved
    word (``/static/...``, ``/login``) says nothing, and neither does any path not under *prefix*.

    The segment must stand in the request as it is, without percent-encoding, so that nothing in
    between reads another one: ``/t%2Facme`` names no tenant, ``/t/acme%2F..%2Fglobex`` an unknown
    one, and below a tenant ``.`` and ``..`` are refused in any spelling (400).

    All tenants share one origin: cookies, storage and scripts. See SECURITY.md.

    Raises:
        ValueError: *prefix* is no path without its final slash.
    """
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"{prefix!r} cannot be a path's prefix: use one such as /t, or ''")

    def resolve(scope: Scope) -> Found | None:
        root = scope.get("root_path", "").rstrip("/")
        path = scope["path"]
        before = f"{root}{prefix}/"
        if not path.startswith(before):
            raise _unnamed(prefix)
        raw = _raw(scope)
        if raw is not None and not raw.startswith(before):
            raise _unnamed(prefix)
        segment = _segment(path, before)
        if not prefix and (not segment or identifiers.is_reserved(segment)):
            return None
        if not identifiers.is_slug(segment) or (raw and segment != _segment(raw, before)):
            raise UnknownTenantError("the path's segment is no tenant's slug")
        if _DOT_SEGMENT.search(path[len(before) :]):
            raise MalformedTargetError("the path holds a segment . or ..")
        return Found((TenantKey(KeyKind.SLUG, segment),), prefix=f"{prefix}/{segment}")

    return resolve


def _unnamed(prefix: str) -> NoTenantNamedError:
    return NoTenantNamedError(f"the path does not begin with {prefix}/")


def _raw(scope: Scope) -> str | None:
    """Return the path as it was sent; None where the server does not tell."""
    raw: bytes | None = scope.get("raw_path")
    # Some servers leave the query in it.
    return raw.partition(b"?")[0].decode("latin-1") if raw else None


def _segment(path: str, before: str) -> str:
    return path[len(before) :].partition("/")[0]
