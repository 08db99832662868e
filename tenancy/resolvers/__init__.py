"""From an ASGI scope to what it says about its tenant. Pure: no input or output, no registry.

A resolver is any callable that takes an ASGI scope, of a request or a websocket, and

* returns a `TenantKey`, or a `Found`: this is what the request says;
* returns None: it says nothing of what I read. Where nobody else says anything: 404;
* raises a `NoTenantNamedError` (`MisdirectedHostError` is one): likewise it says nothing, and where
  nobody else says anything this error is the answer;
* raises any other `TenancyError`: the request is refused, whatever others say.
"""

from tenancy.resolvers.chain import chain
from tenancy.resolvers.header import by_header, signed
from tenancy.resolvers.host import by_domain, by_host, by_subdomain, host, port
from tenancy.resolvers.keys import Found, KeyKind, Resolver, Scope, TenantKey, key_of
from tenancy.resolvers.path import by_path
from tenancy.resolvers.token import by_token

__all__ = [
    "Found",
    "KeyKind",
    "Resolver",
    "Scope",
    "TenantKey",
    "by_domain",
    "by_header",
    "by_host",
    "by_path",
    "by_subdomain",
    "by_token",
    "chain",
    "host",
    "key_of",
    "port",
    "signed",
]
