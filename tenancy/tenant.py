"""What a tenant is, and which one this task serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from tenancy import limits
from tenancy.entrance import Ticket
from tenancy.errors import NoTenantError, ShuttingDownError, TenancyError, TenantMismatchError
from tenancy.limits import Limits


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
        slug: the sub-domain; may change.
        schema: the PostgreSQL schema, and at level ``role`` also the role, of this tenant alone.
        state: decides whether and how requests are served.
        version: checkpoint of the schema, the version of the last migration applied; None: none
        was.
        limits: what it may use, less than others.
    """

    id: UUID
    slug: str
    schema: str
    state: State = State.ACTIVE
    version: str | None = None
    limits: Limits = limits.NONE


@dataclass(slots=True, eq=False)
class Serving:
    """One request, from its host to its answer; tasks it spawns share it.

    Attributes:
        tenant: whom it is for; None: nobody.
        refusal: why it is for nobody, for a framework that knows views which need no tenant.
        commit_sent: whether a COMMIT was sent for it. Then a cancelled request can no longer be
            answered "nothing was saved".
        refused: whether it was answered so. Then nothing it has left running may commit.
        ticket: its turn to be on the way to a connection; None: it is past that, or never was.
    """

    tenant: Tenant | None
    refusal: TenancyError | None = None
    ticket: Ticket | None = None
    commit_sent: bool = False
    refused: bool = False


_serving: ContextVar[Serving | None] = ContextVar("tenancy.serving", default=None)


@contextmanager
def serving(
    tenant: Tenant | None, refusal: TenancyError | None = None, ticket: Ticket | None = None
) -> Iterator[None]:
    """Serve *tenant* in this task, and in those it spawns, until the block ends."""
    token = _serving.set(Serving(tenant, refusal, ticket))
    try:
        yield
    finally:
        _serving.reset(token)
        if ticket is not None:
            ticket.leave()


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


def refusal() -> TenancyError | None:
    """Return why the request that this task serves has no tenant."""
    request = _serving.get()
    return request.refusal if request is not None else None


def sending_commit() -> None:
    """Remember, for the request this task serves if any, that a COMMIT is on its way.

    Raises:
        ShuttingDownError: the client was told already that nothing was saved.
    """
    request = _serving.get()
    if request is not None:
        if request.refused:
            raise ShuttingDownError("the request was refused at shutdown: nothing is saved")
        request.commit_sent = True


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
            "no tenant is being served here: name one, as in tenancy.transaction('acme')"
        )
    return request.tenant


def admit(tenant: Tenant) -> Tenant:
    """Return *tenant* if this task may open its transaction: it serves this tenant, or no request.

    Raises:
        TenantMismatchError: a request resolved for one tenant asks for another.
    """
    request = _serving.get()
    served = request.tenant if request is not None else None
    if served is not None and served.id != tenant.id:
        raise TenantMismatchError(
            "this request serves one tenant and asked for a transaction of another: "
            "do that outside of requests, in a job or a script"
        )
    return tenant
