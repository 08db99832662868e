"""`create_admin_app`: the operator's HTTP API, as an ASGI application."""

from typing import Any

import asyncpg
from quart import Quart, Response
from quart_schema import HttpSecurityScheme, Info, QuartSchema, hide

from tenancy import settings as settings_module
from tenancy.admin import domains, looking, tenants
from tenancy.admin.description import Description, SlugConverter
from tenancy.admin.gate import Gate, door
from tenancy.admin.marks import needs
from tenancy.errors import TenancyError
from tenancy.provision import Hooks
from tenancy.provision.office import CONNECTIONS, Office
from tenancy.settings import Settings
from tenancy.web import described, readiness, shutdown
from tenancy.web.hooks import answer_error

MAX_BODY_BYTES = 64 * 1024
TITLE = "tenancy: the operator's API"


def create_admin_app(
    settings: Settings | None = None, *, hooks: Hooks | None = None, connections: int = CONNECTIONS
) -> Quart:
    """Return the operator's API. Every request needs a bearer token, and nothing turns that off.

    Serve it by itself, or as ``operator=`` of `Tenancy.middleware` or `Tenancy.init_app`. It
    connects as the login that owns the schemas, when the first request comes.

    Args:
        settings: by default those of the environment.
        hooks: what is to be done at each step; by default those of TENANCY_HOOKS.
        connections: of administrators, at most.

    Raises:
        SettingsError: the environment is not acceptable, TENANCY_HOOKS names nothing, or the key
            of TENANCY_ADMIN_JWT_KEY_FILE cannot be used.
        MissingExtraError: the key is set, and joserfc is not installed.
    """
    settings = settings or settings_module.load()
    office = Office(settings, hooks=hooks, connections=connections)
    app = Quart("tenancy.admin", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.converters["slug"] = SlugConverter
    app.asgi_http_class = shutdown.HTTPConnection
    Gate(office, settings.admin_requests_per_second).attach(app)
    for blueprint in (tenants.blueprint, domains.blueprint, looking.blueprint):
        app.register_blueprint(blueprint)
    _describe(app)
    described.answer_refusals(app)
    for kind in (TenancyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        app.register_error_handler(kind, answer_error)
    app.before_serving(_drain)
    probes = {"/healthz": readiness.alive, "/readyz": readiness.Probe(lambda: office)}
    app.asgi_app = door(app.asgi_app, settings, probes)  # type: ignore[method-assign, assignment, arg-type]
    return app


def _describe(app: Quart) -> None:
    QuartSchema(
        app,
        info=Info(title=TITLE, version="1"),
        openapi_provider_class=Description,
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
        security_schemes={"bearer": HttpSecurityScheme(scheme="bearer")},
        security=[{"bearer": []}],
    )
    described_by: Any = app.view_functions["openapi"]
    known: list[bytes] = []

    async def openapi() -> Response:
        if not known:  # it stays the same, and to make it takes a hundred times as long
            answer: Any = await app.make_response(await described_by())
            known.append(await answer.get_data())
        return Response(known[0], content_type="application/json")

    app.view_functions["openapi"] = hide(needs(None)(openapi))


async def _drain() -> None:
    shutdown.drain_on_sigterm()
