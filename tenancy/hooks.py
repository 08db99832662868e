"""The hooks of a Quart application: each request inside its tenant, each error a document."""

import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import asyncpg
from quart import Quart, Response, current_app, request, websocket

from tenancy import asgi, shutdown, tenant
from tenancy.errors import TenancyError
from tenancy.problems import Problem, problem

_log = logging.getLogger(__name__)


class Hooks:
    """What `Tenancy.init_app` puts into an application.

    Args:
        resolve: from an ASGI scope to a tenant that may be served.
        admit: wait until a request of the tenant may go in.
        lifespan: what to await before the application serves, and after it has served.
    """

    def __init__(
        self, resolve: asgi.Resolve, admit: asgi.Admit, *, lifespan: tuple[asgi.Hook, asgi.Hook]
    ) -> None:
        self._resolve = resolve
        self._admit = admit
        self._lifespan = lifespan
        self._exempt: set[Callable[..., Any]] = set()

    def exempt(self, view: Callable[..., Any]) -> None:
        """Let *view* answer requests that have no tenant."""
        self._exempt.add(view)

    def attach(self, app: Quart, probes: Mapping[str, asgi.Probe]) -> None:
        """Put the hooks into *app*, which answers *probes* on any host."""
        app.asgi_http_class = shutdown.HTTPConnection
        app.asgi_websocket_class = shutdown.WebsocketConnection
        app.asgi_app = asgi.Front(  # type: ignore[method-assign, assignment]
            app.asgi_app,  # type: ignore[arg-type]
            self._resolve,
            admit=self._admit,
            probes=probes,
            defer=True,
        )
        start, stop = self._lifespan
        app.before_serving(start)
        app.after_serving(stop)
        app.before_request(self._admit_request)
        app.before_websocket(self._admit_websocket)
        for kind in (TenancyError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            app.register_error_handler(kind, _answer)

    async def _admit_request(self) -> None:
        refusal = tenant.refusal()
        if refusal is not None and not self._is_exempt(request.endpoint):
            raise refusal

    async def _admit_websocket(self) -> None:
        refusal = tenant.refusal()
        if refusal is not None and not self._is_exempt(websocket.endpoint):
            raise refusal

    def _is_exempt(self, endpoint: str | None) -> bool:
        view = current_app.view_functions.get(endpoint) if endpoint is not None else None
        while view is not None and view not in self._exempt:
            view = getattr(view, "__wrapped__", None)  # decorators between us and the framework
        return view is not None


async def _answer(error: Exception) -> Response:
    answer = problem(error)
    if answer.code == TenancyError.code:
        raise error  # none of ours after all: the framework logs it and answers 500
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s: %s", answer.code, error if isinstance(error, TenancyError) else type(error))
    return answered(answer)


def answered(answer: Problem, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return *answer* as Quart's response, with further *headers*."""
    return Response(answer.body, answer.status, {**dict(headers), **dict(answer.headers)})
