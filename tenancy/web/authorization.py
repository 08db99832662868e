"""Who may use a tenant: the application's own answer, asked for each request."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tenancy.errors import ForbiddenError, UnauthenticatedError
from tenancy.tenant import Tenant

Principal = Callable[[Mapping[str, Any]], Any | Awaitable[Any]]
Authorize = Callable[[Any, Tenant], bool | Awaitable[bool]]


class Authorization:
    """The application's two questions, each a plain or an async callable.

    Args:
        principal: from an ASGI scope to whoever asks, or None; without it, what a resolver has
            verified, as the claims of a token.
        authorize: from a principal and a tenant to True, and nothing but True, where it is
            admitted.
    """

    def __init__(self, principal: Principal | None, authorize: Authorize | None) -> None:
        self._principal = principal
        self._authorize = authorize

    async def principal(self, scope: Mapping[str, Any], verified: object) -> object:
        """Return whoever asks; *verified* is whom a resolver knows."""
        return verified if self._principal is None else await _awaited(self._principal(scope))

    async def check(self, scope: Mapping[str, Any], tenant: Tenant, verified: object) -> object:
        """Return the principal, if it may use *tenant*. Nothing is remembered.

        Raises:
            UnauthenticatedError: there is none, and it matters.
            ForbiddenError: it is not admitted.
        """
        principal = await self.principal(scope, verified)
        if self._authorize is None:
            return principal
        if principal is None:
            raise UnauthenticatedError("nobody is known on whose behalf the request comes")
        if await _awaited(self._authorize(principal, tenant)) is not True:
            raise ForbiddenError("authorize did not admit the principal to the tenant")
        return principal


async def _awaited(answer: object) -> object:
    return await answer if inspect.isawaitable(answer) else answer
