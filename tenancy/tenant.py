"""What a tenant is, and which one this task serves."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from tenancy.errors import NoTenantError, ShuttingDownError, TenancyError, TenantMismatchError
from tenancy.fairness import limits
from tenancy.fairness.entrance import Ticket
from tenancy.fairness.limits import Limits

_log = logging.getLogger(__name__)

# Work that a request leaves behind is done by then; what still runs is a worker that one request
# happened to start, and that would serve its tenant for ever.
LINGERING_SECONDS = 300.0


class State(StrEnum):
    """A tenant's state in the registry; each has one answer over HTTP."""

    PROVISIONING = "provisioning"
    ACTIVE = "active"
    READ_ONLY = "read_only"
    SUSPENDED = "suspended"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer, as the registry has it.

    Attributes:
        id: never changes and is never used again.
        slug: its name to the outside, the sub-domain above all; may change.
        schema: the PostgreSQL schema, and from level ``role`` on the role, of this tenant alone.
        state: decides whether and how requests are served.
        version: checkpoint of the schema, the version of the last migration applied; None: none
            was.
        primary_domain: the verified custom domain it is best reached by, if any.
        limits: what it may use, less than others.
    """

    id: UUID
    slug: str
    schema: str
    state: State = State.ACTIVE
    version: str | None = None
    primary_domain: str | None = None
    limits: Limits = limits.NONE


@dataclass(slots=True, eq=False)
class Serving:
    """One request, from the front to its answer; tasks it spawns share it.

    Attributes:
        tenant: whom it is for; None: nobody.
        refusal: why it is for nobody, for a framework that knows views which need no tenant.
        operator: whether it came by the operator's host; then it is for no tenant.
        principal: on whose behalf it comes, where that is known.
        commit_sent: whether a COMMIT was sent for it. Then a cancelled request can no longer be
            answered "nothing was saved".
        refused: whether it was answered so. Then nothing it has left running may commit.
        ticket: its turn to be on the way to a connection; None: it is past that, or never was.
        ended_at: when it was answered, in seconds of the monotonic clock; None: not yet.
        outer: the request inside which this one is served, as a job that is run at once; what is
            committed here is committed for both.
        detached_by: the task that has put its tenant aside, to start others without one.
    """

    tenant: Tenant | None
    refusal: TenancyError | None = None
    operator: bool = False
    principal: Any = None
    ticket: Ticket | None = None
    commit_sent: bool = False
    refused: bool = False
    ended_at: float | None = None
    outer: "Serving | None" = None
    detached_by: "asyncio.Task[object] | None" = None


_serving: ContextVar[Serving | None] = ContextVar("tenancy.serving", default=None)


@contextmanager
def serving(
    tenant: Tenant | None,
    refusal: TenancyError | None = None,
    *,
    operator: bool = False,
    principal: object = None,
) -> Iterator[Serving]:
    """Serve *tenant* in this task, and in those it spawns, until the block ends."""
    request = Serving(tenant, refusal, operator, principal, outer=_serving.get())
    token = _serving.set(request)
    try:
        yield request
    finally:
        request.ended_at = time.monotonic()
        if request.ticket is not None:
            request.ticket.leave()
        with suppress(ValueError):  # a generator ended in another context, which has another value
            _serving.reset(token)


@contextmanager
def detached() -> Iterator[None]:
    """Serve nobody inside the block, so that the tasks it starts serve nobody.

    A task copies the context it is started in. A worker, a cache or a listener that the first
    request starts, and that lives on, would serve that request's tenant for ever.

    For starting tasks alone: the task that is in the block opens no tenant's transaction in it.
    """
    token = _serving.set(Serving(None, detached_by=_this_task()))
    try:
        yield
    finally:
        _serving.reset(token)


def waited_seconds() -> float:
    """Return how much of the wait for its first connection this task's request has used up."""
    request = _serving.get()
    return 0.0 if request is None or request.ticket is None else request.ticket.waited_seconds


def connected() -> None:
    """Let another request in: this task's has a connection."""
    request = _serving.get()
    if request is not None and request.ticket is not None:
        request.ticket.leave()
        request.ticket = None


def _this_task() -> "asyncio.Task[object] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # a thread that runs no event loop
        return None


def request() -> Serving | None:
    """Return the request that this task serves."""
    return _serving.get()


def sending_commit() -> None:
    """Remember, for the request this task serves if any, that a COMMIT is on its way.

    Raises:
        ShuttingDownError: the client was told already that nothing was saved.
    """
    request = _serving.get()
    while request is not None:
        if request.refused:
            raise ShuttingDownError("the request was refused at shutdown: nothing is saved")
        request.commit_sent = True
        request = request.outer


def refuse_commits() -> bool:
    """Let nothing be committed for this task's request; False: something may be already."""
    request = _serving.get()
    if request is None or request.commit_sent:
        return False
    request.refused = True
    return True


def current() -> Tenant:
    """Return the tenant that this task serves.

    Raises:
        NoTenantError: none was resolved: an exempt view, a script, a thread of your own.
    """
    request = _serving.get()
    if request is None or request.tenant is None:
        raise NoTenantError(
            "no tenant is being served here: name one, as in tenancy.transaction('acme'), or serve "
            "one, as in tenancy.serving('acme'); a thread knows its request's tenant if it was "
            "started by asyncio.to_thread"
        )
    if request.ended_at is not None:
        _watch(request, request.tenant)
    return request.tenant


def _watch(request: Serving, tenant: Tenant) -> None:
    """Say once of a task that lives on that it serves the tenant it was started for."""
    seconds = time.monotonic() - (request.ended_at or 0)
    if seconds > LINGERING_SECONDS:
        request.ended_at = None
        _log.warning(
            "a task still serves tenant %r, %.0f s after the end of the request it was started in: "
            "if it works for every tenant, start it inside `with tenancy.detached()`",
            tenant.slug,
            seconds,
        )


def admit(tenant: Tenant) -> Tenant:
    """Return *tenant* if this task may open its transaction: it serves this tenant, or no request.

    Raises:
        TenantMismatchError: a request resolved for one tenant asks for another.
        NoTenantError: this task has put its tenant aside, by `detached`.
    """
    request = _serving.get()
    if request is None:
        return tenant
    if request.tenant is not None and request.tenant.id != tenant.id:
        raise TenantMismatchError(
            "this request serves one tenant and asked for a transaction of another: do that "
            "outside of requests, in a job or a script; a worker that a request has started, and "
            "that works for every tenant, is started inside `with tenancy.detached()`"
        )
    if request.detached_by is not None and request.detached_by is _this_task():
        raise NoTenantError(
            "tenancy.detached() is for starting tasks that outlive this one: let such a task open "
            "the transaction"
        )
    return tenant
