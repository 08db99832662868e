"""The front: from a request to its tenant, before any framework has parsed anything.

`Front` is middleware for any ASGI application.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from tenancy import tenant
from tenancy.errors import (
    MalformedHostError,
    MalformedTargetError,
    MisdirectedHostError,
    ShuttingDownError,
    TenancyError,
)
from tenancy.fairness.entrance import Ticket
from tenancy.problems import POLICY_VIOLATION, problem
from tenancy.tenant import Serving, Tenant
from tenancy.web import refusals

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Resolve = Callable[[Scope], Awaitable["Resolved"]]
Authorize = Callable[[Scope, Tenant, object], Awaitable[object]]
Enter = Callable[[Tenant], Awaitable[Ticket]]
Hook = Callable[[], Awaitable[None]]
Probe = Callable[[], Awaitable[tuple[int, bytes]]]


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whom a request is for.

    Attributes:
        tenant: whom; None: nobody.
        refusal: why it may not be served all the same, by views that need a tenant.
        operator: whether it came by the operator's host; then it is for no tenant.
        principal: on whose behalf it comes, where a resolver has verified that.
        prefix: leading part of the path, which named the tenant.
    """

    tenant: Tenant | None = None
    refusal: TenancyError | None = None
    operator: bool = False
    principal: Any = None
    prefix: str = ""


# A framework may not even be able to read such a request.
_NEVER_DEFERRED = (MalformedHostError, MalformedTargetError)


class Front:
    """Resolve the tenant of each request, and serve it inside, or answer why not.

    Args:
        app: the application inside.
        resolve: from an ASGI scope to a tenant that may be served.
        enter: wait until a request of the tenant may go in.
        authorize: returns the principal if it may use the tenant, else raises. With `defer` the
            framework inside asks.
        operator: the application of the operator's hosts; None: they are refused, or with `defer`
            left to the one inside.
        probes: health endpoints by path; they answer on any host, a malformed or missing one too.
        defer: leave refusals, but for malformed hosts, to the framework inside, which knows the
            views that need no tenant; `tenant.request` has them.
        lifespan: what to await before the application's own start-up, and after its own shutdown.
    """

    def __init__(  # noqa: PLR0913 - each of two users leaves half of them alone
        self,
        app: Application,
        resolve: Resolve,
        *,
        enter: Enter,
        authorize: Authorize | None = None,
        operator: Application | None = None,
        probes: Mapping[str, Probe] | None = None,
        defer: bool = False,
        lifespan: tuple[Hook, Hook] | None = None,
    ) -> None:
        self._app = app
        self._resolve = resolve
        self._enter = enter
        self._authorize = authorize
        self._operator = operator
        self._probes = probes or {}
        self._defer = defer
        self._lifespan_hooks = lifespan or (_nothing, _nothing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one connection of the server's: ASGI's own interface."""
        if scope["type"] == "lifespan":
            return await self._lifespan(scope, receive, send)
        if scope["type"] == "http" and scope["path"] in self._probes:
            status, body = await self._probes[scope["path"]]()
            return await _respond(send, status, [("content-type", "application/json")], body)
        try:
            _check_target(scope["path"])
            resolved = await self._resolve(scope)
        except TenancyError as error:
            resolved = Resolved(refusal=error)
        scope = _mounted(scope, resolved.prefix)
        refusal = resolved.refusal
        if not self._defer or isinstance(refusal, _NEVER_DEFERRED):
            if refusal is None and resolved.operator and self._operator is None:
                refusal = MisdirectedHostError("the operator's host serves no tenant")
            if refusal is not None:
                return await refuse(scope, send, refusal)
        with _serving(resolved) as request:
            try:
                await self._let_in(request, scope, send)
            except TenancyError as error:
                return await refuse(scope, send, error)
            app = self._operator if resolved.operator and self._operator else self._app
            return await app(scope, receive, send)

    async def _let_in(self, request: Serving, scope: Scope, send: Send) -> None:
        """Wait until *request* may go on to the application, or raise why it may not."""
        if request.tenant is None or request.refusal is not None:
            return
        if self._authorize is not None:
            request.principal = await self._authorize(scope, request.tenant, request.principal)
        if scope["type"] != "http":
            return
        try:
            request.ticket = await self._enter(request.tenant)
        except asyncio.CancelledError:
            await refuse(scope, send, ShuttingDownError("it was still waiting at shutdown"))
            raise

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start before the application, stop after it; and also where it knows no lifespan."""
        on_startup, on_shutdown = self._lifespan_hooks
        reached: set[str] = set()

        async def receiving() -> Message:
            message = await receive()
            reached.add(message["type"])
            if message["type"] == "lifespan.startup":
                await on_startup()
            return message

        async def sending(message: Message) -> None:
            reached.add(message["type"])
            if message["type"].startswith("lifespan.shutdown."):
                await on_shutdown()
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        except Exception:
            if "lifespan.startup.complete" in reached:
                raise
            await self._lifespan_alone(reached, receiving, sending)

    async def _lifespan_alone(self, reached: set[str], receive: Receive, send: Send) -> None:
        if "lifespan.startup" not in reached:
            await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _check_target(path: str) -> None:
    """Refuse what a framework would stumble over; a path, an address and ``*`` pass."""
    if path.startswith("/") or path == "*":
        return
    try:
        whole = urlsplit(path)
    except ValueError:
        whole = urlsplit("")
    if not (whole.scheme and whole.netloc and whole.path.startswith("/")):
        raise MalformedTargetError("the request target is neither a path nor an address")


def _serving(resolved: Resolved) -> AbstractContextManager[Serving]:
    return tenant.serving(
        resolved.tenant,
        resolved.refusal,
        operator=resolved.operator,
        principal=resolved.principal,
    )


def _mounted(scope: Scope, prefix: str) -> Scope:
    """Return *scope* with the application mounted under *prefix*, as ASGI's ``root_path`` has it.

    The path stays whole: ``root_path`` is its beginning, which frameworks take off.
    """
    if not prefix:
        return scope
    root = scope.get("root_path", "").rstrip("/") + prefix
    mounted = {**scope, "root_path": root}
    if scope["path"] == root:  # "/t/acme" is the tenant's "/"
        mounted["path"] = f"{root}/"
        if scope.get("raw_path"):
            mounted["raw_path"] = f"{root}/".encode()
    return mounted


async def _nothing() -> None:
    pass


async def refuse(scope: Scope, send: Send, error: TenancyError) -> None:
    """Answer *error* by its problem document; a websocket that cannot carry one is closed."""
    answer = problem(error)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        refusals.log.write(answer, error, f"{scope.get('method', 'WEBSOCKET')} (not routed)")
    if scope["type"] == "http":
        await _respond(send, answer.status, answer.headers, answer.body)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await _respond(send, answer.status, answer.headers, answer.body, kind="websocket.http")
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})


async def _respond(
    send: Send, status: int, headers: list[tuple[str, str]], body: bytes, kind: str = "http"
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": f"{kind}.response.start", "status": status, "headers": raw})
    await send({"type": f"{kind}.response.body", "body": body, "more_body": False})
