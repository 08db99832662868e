"""The hooks of a Quart application: each request inside its tenant, each error a document."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import asyncpg
from quart import (
    Quart,
    Request,
    Response,
    Websocket,
    current_app,
    got_websocket_exception,
    has_websocket_context,
    request,
    websocket,
)
from werkzeug.exceptions import NotFound

from tenancy import tenant
from tenancy.errors import MisdirectedHostError, SessionOfAnotherTenantError, TenancyError
from tenancy.problems import Problem, problem
from tenancy.web import asgi, refusals, sessions, shutdown
from tenancy.web.audience import Audience, Audiences
from tenancy.web.authorization import Authorization


class Hooks:
    """What `Tenancy.init_app` puts into one application.

    Args:
        resolve: from an ASGI scope to whom it is for.
        enter: wait until a request of the tenant may go in.
        audiences: whom each view is for.
        authorization: who may use a tenant.
        lifespan: what to await before the application serves, and after it has served.
        bind_sessions: whether a session is for the tenant it was made for alone.
    """

    def __init__(  # noqa: PLR0913 - by name
        self,
        resolve: asgi.Resolve,
        *,
        enter: asgi.Enter,
        audiences: Audiences,
        authorization: Authorization,
        lifespan: tuple[asgi.Hook, asgi.Hook],
        bind_sessions: bool = True,
    ) -> None:
        self._resolve = resolve
        self._enter = enter
        self._audiences = audiences
        self._known: dict[str | None, Audience] = {}  # by endpoint; views are marked before serving
        self._authorization = authorization
        self._lifespan = lifespan
        self._binds_sessions = bind_sessions

    def attach(
        self,
        app: Quart,
        probes: Mapping[str, asgi.Probe],
        operator: asgi.Application | None = None,
    ) -> None:
        """Put the hooks into *app*, which answers *probes* on any host.

        Args:
            app: before its first request.
            probes: by path.
            operator: serves the operator's hosts in its stead.
        """
        self._app = app
        app.asgi_http_class = shutdown.HTTPConnection
        app.asgi_websocket_class = shutdown.WebsocketConnection
        app.asgi_app = asgi.Front(  # type: ignore[method-assign, assignment]
            app.asgi_app,  # type: ignore[arg-type]
            self._resolve,
            enter=self._enter,
            operator=operator,
            probes=probes,
            defer=True,
        )
        start, stop = self._lifespan
        app.before_serving(start)
        app.after_serving(stop)
        # Before the application's own, even if it has registered some already: none of them may see
        # another tenant's session. And last of those after the view, whatever they write into it.
        app.before_request_funcs[None].insert(0, self._admit_request)
        app.before_websocket_funcs[None].insert(0, self._admit_websocket)
        if self._binds_sessions:
            app.after_request_funcs[None].insert(0, sessions.bind)
        got_websocket_exception.connect(_note_failure, app)
        for kind in (TenancyError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            app.register_error_handler(kind, answer_error)

    async def _admit_request(self) -> None:
        # Each look through the proxy costs.
        current = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
        rule: Any = current.url_rule
        # A browser sends no credentials with an OPTIONS that Quart answers by itself.
        by_itself = current.method == "OPTIONS" and rule and rule.provide_automatic_options
        await self._admit(current, runs=self._has_hooks() or (rule is not None and not by_itself))

    async def _admit_websocket(self) -> None:
        current = websocket._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
        await self._admit(current, runs=self._has_hooks() or current.url_rule is not None)

    async def _admit(self, current: Request | Websocket, *, runs: bool) -> None:
        """Let a request reach its view, or raise why not.

        Args:
            current: the request or the websocket.
            runs: whether anything of the application's will run: a view, or a hook of its own.
        """
        serving = tenant.request()
        if serving is None:
            return  # not by our front: a test's own context; no transaction opens here
        is_foreign = self._binds_sessions and sessions.hide()
        audience = self._audience(current)
        _check_place(serving, audience, is_view=current.endpoint is not None)
        if not runs or audience is Audience.EVERYONE:
            return
        if is_foreign and audience is not Audience.PUBLIC:
            raise SessionOfAnotherTenantError("the session was made for another tenant")
        scope, verified = current.scope, serving.principal
        if audience is Audience.TENANTS and serving.tenant is not None:
            principal = await self._authorization.check(scope, serving.tenant, verified)
        else:
            principal = await self._authorization.principal(scope, verified)
        serving.principal = principal

    def _audience(self, current: Request | Websocket) -> Audience:
        known = self._known.get(current.endpoint)
        if known is None:
            view = self._app.view_functions.get(current.endpoint or "")
            blueprints = (self._app.blueprints.get(name) for name in current.blueprints)
            known = self._known[current.endpoint] = self._audiences.of(view, blueprints)
        return known

    def _has_hooks(self) -> bool:
        """Whether the application has hooks of its own, which run for any request."""
        of_requests = self._app.before_request_funcs[None]
        return len(of_requests) > 1 or len(self._app.before_websocket_funcs[None]) > 1


def _check_place(serving: tenant.Serving, audience: Audience, *, is_view: bool) -> None:
    """Raise unless a view for *audience* answers where the request came to."""
    match audience:
        case Audience.EVERYONE:
            return
        case Audience.OPERATOR:
            if not serving.operator:
                # As any address that does not exist there.
                raise serving.refusal if serving.refusal and not serving.tenant else NotFound()
        case Audience.TENANTS | Audience.PUBLIC:
            if serving.operator and is_view:
                raise MisdirectedHostError("the operator's host serves no tenant's view")
            if serving.refusal is not None:
                raise serving.refusal


async def answer_error(error: Exception) -> Response:
    """Return the problem document of *error*, and write it to the log where the fault is ours.

    What is not known is raised again: the framework logs it whole, and answers 500.
    """
    answer = problem(error)
    if has_websocket_context():
        await _note_failure(current_app, error)
    if answer.code == TenancyError.code:
        raise error  # none of ours after all: the framework logs it and answers 500
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        refusals.log.write(answer, error, _where())
    return answered(answer)


def _where() -> str:
    # The route, not the path: that may hold what a client wants nobody to read.
    if has_websocket_context():
        return f"WEBSOCKET {websocket.url_rule or '(no route)'}"
    return f"{request.method} {request.url_rule or '(no route)'}"


async def _note_failure(_: object, exception: Exception) -> None:
    """Let the websocket be closed with what became of it; Quart says that all is well."""
    scope: Any = websocket.scope
    scope[shutdown.PROBLEM] = problem(exception)


def answered(answer: Problem, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return *answer* as Quart's response, with further *headers*."""
    return Response(answer.body, answer.status, {**dict(headers), **dict(answer.headers)})
