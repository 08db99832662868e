"""Work outside of any request: jobs of a queue, scripts, commands.

`Jobs` is the part of `Tenancy` for it. No connection is held here: a job opens transactions of its
own, as a view does.
"""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from tenancy import envelope as envelopes
from tenancy import tenant as tenants
from tenancy.envelope import Envelope
from tenancy.registry.registry import Registry
from tenancy.resolvers import KeyKind, TenantKey
from tenancy.settings import Settings
from tenancy.tenant import Tenant

P = ParamSpec("P")
R = TypeVar("R")

ENVELOPE = "envelope"  # the argument's name


class Jobs(ABC):
    """What `Tenancy` can do where there is no request."""

    settings: Settings

    @property
    @abstractmethod
    def registry(self) -> Registry:
        """What this process knows of the tenants."""

    def envelope(self, of: Tenant | None = None) -> Envelope:
        """Return what a job is enqueued with: a small JSON object that says for which tenant.

        It holds the tenant's id, and a signature where ``TENANCY_ENVELOPE_KEYS`` is set; nothing
        that changes or that must stay secret.

        Args:
            of: for scripts; by default the tenant this task serves.

        Raises:
            NoTenantError: this task serves none, and none is named.
            TenantMismatchError: this task serves another.
        """
        whose = tenants.current() if of is None else tenants.admit(of)
        return envelopes.seal(whose.id, self.settings.envelope_keys)

    def task(
        self, function: Callable[P, Coroutine[Any, Any, R]]
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        """Run *function*, a job, for the tenant of its envelope. A decorator.

        The job is called with a keyword ``envelope``, what `envelope` returned when it was
        enqueued. *function* may take that argument or not. It is refused before its first line
        unless the tenant, asked for again, may be served now; ``retryable`` of the error tells
        the queue whether to try again. No connection is held: it opens its own transactions.

        Each call is a task of its own for `asyncio.gather` and the like, so that jobs of many
        tenants run beside each other.

        Raises:
            TypeError: *function* is not ``async def``. Raised here; when called:
            MissingEnvelopeError, InvalidEnvelopeError: it is not known for which tenant.
            UnknownTenantError: the tenant was deleted or is being deleted.
            TenantSuspendedError, TenantNotReadyError: it cannot be served now.
            TenantMismatchError: called by code that serves another tenant.
        """
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function!r} is no async function, and a job must be one")
        signature = inspect.signature(function)
        takes_it = ENVELOPE in signature.parameters

        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> R:
            if takes_it:
                given = signature.bind_partial(*args, **kwargs).arguments.get(ENVELOPE)
            else:
                given = kwargs.pop(ENVELOPE, None)
            tenant_id = envelopes.unseal(given, self.settings.envelope_keys)
            async with self._serving(_key_of(tenant_id)):
                return await function(*args, **kwargs)

        if not takes_it:
            run.__signature__ = _with_envelope(signature)  # type: ignore[attr-defined]
        return run

    @asynccontextmanager
    async def serving(self, of: Tenant | str) -> AsyncIterator[Tenant]:
        """Serve a tenant inside the block as a request does: for scripts, commands and tests.

        Code that relies on ``tenancy.tenant`` and ``tenancy.transaction()`` works inside, also in
        the tasks it starts. No connection is held.

        Args:
            of: a tenant, whose state is asked for again, or its slug.

        Raises:
            UnknownTenantError, TenantSuspendedError, TenantNotReadyError: it cannot be served now.
            TenantMismatchError: this task serves another.
        """
        named = TenantKey(KeyKind.SLUG, of) if isinstance(of, str) else _key_of(of.id)
        async with self._serving(named) as served:
            yield served

    def detached(self) -> AbstractContextManager[None]:
        """Serve nobody inside the block, for starting tasks that work for every tenant.

        A task keeps the context it was started in. A worker, a cache or a listener that the first
        request starts would serve that request's tenant for ever::

            with tenancy.detached():
                worker = asyncio.create_task(work())

        The block itself opens no tenant's transaction. A framework's own context, such as Quart's
        request, stays; ``create_task(..., context=contextvars.Context())`` leaves all behind.
        """
        return tenants.detached()

    @asynccontextmanager
    async def _serving(self, key: TenantKey) -> AsyncIterator[Tenant]:
        served = tenants.admit(self.registry.servable(await self.registry.find(key)))
        with tenants.serving(served):
            yield served


def _key_of(tenant_id: UUID) -> TenantKey:
    return TenantKey(KeyKind.ID, str(tenant_id))


def _with_envelope(signature: inspect.Signature) -> inspect.Signature:
    """Return *signature* with the envelope, for queues that look at it."""
    parameters = list(signature.parameters.values())
    last = len(parameters)
    if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
        last -= 1
    taken = inspect.Parameter(ENVELOPE, inspect.Parameter.KEYWORD_ONLY, annotation=Envelope)
    return signature.replace(parameters=[*parameters[:last], taken, *parameters[last:]])
