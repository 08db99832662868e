"""Redirects: the same path and query at the address where the tenant is now. Pure.

Each leads to a host or a path that the registry knows, and is made by us: nothing of the request
decides where it goes. Without a scheme (RFC 3986, section 4.2): the client keeps its own, which
behind a proxy that ends TLS is not the one we see.
"""

from typing import TypeVar
from urllib.parse import quote

from tenancy import resolvers
from tenancy.errors import TenancyError
from tenancy.resolvers import Scope

# RFC 3986, section 3.3 and 3.4; the percent sign is of what is encoded already.
_PATH = "/%:@!$&'()*+,;=-._~"
_QUERY = f"{_PATH}?"

Moved = TypeVar("Moved", bound=TenancyError)


def at_host(moved: Moved, scope: Scope, host: str) -> Moved:
    """Return *moved* as the redirect to *host*, on the port of the request."""
    port = resolvers.port(scope)
    return _at(moved, scope, f"//{host}{f':{port}' if port else ''}", _path(scope))


def at_prefix(moved: Moved, scope: Scope, old: str, new: str) -> Moved:
    """Return *moved* as the redirect to the same host, with *new* for the path's prefix *old*.

    Args:
        moved: the error that says so.
        scope: of the request, whose path begins with its ``root_path`` and *old*.
        old: such as ``/t/acme``.
        new: such as ``/t/acme-corp``.
    """
    root = scope.get("root_path", "").rstrip("/").encode()
    path = _path(scope).removeprefix(root + old.encode())
    return _at(moved, scope, "", root + new.encode() + path)


def _at(moved: Moved, scope: Scope, where: str, path: bytes) -> Moved:
    query = scope.get("query_string", b"")
    location = where + quote(path, safe=_PATH) + (f"?{quote(query, safe=_QUERY)}" if query else "")
    moved.headers = (("location", location),)
    return moved


def _path(scope: Scope) -> bytes:
    # Absolute targets and "*" begin with no slash, and have no path of ours.
    path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    return path.partition(b"?")[0] if path.startswith(b"/") else b"/"
