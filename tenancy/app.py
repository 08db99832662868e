"""`create_app`: what hypercorn serves.

``hypercorn -c config/hypercorn.toml "tenancy.app:create_app()"``
"""

from quart import Quart
from quart_schema import Info, QuartSchema

from tenancy.extension import Tenancy
from tenancy.settings import Settings
from tenancy.web import described

DOCUMENTATION = ("openapi", "redoc_ui", "scalar_ui", "swagger_ui")  # endpoints of quart-schema
MAX_BODY_BYTES = 1024 * 1024

# What any request may be answered instead of its view's own answer.
REFUSALS = {
    400: "The host, the target or the body is malformed.",
    403: "The tenant is suspended, or read-only.",
    404: "There is no such tenant, or nothing at this address.",
    405: "This address does not take that method.",
    408: "The body took too long to arrive.",
    409: "The change conflicts with existing data.",
    413: "The body is too large.",
    415: "The body is not of a type that is understood here.",
    421: "This service does not answer for that host.",
    422: "The request does not fit its description.",
    500: "The server failed; nothing is known to be saved.",
    503: "Busy, not ready, or the outcome is unknown: see `code` and Retry-After.",
    504: "The database took too long.",
}


def create_app(
    settings: Settings | None = None, *, title: str = "tenancy", tenancy: Tenancy | None = None
) -> Quart:
    """Return an application whose every request is inside its tenant; add blueprints to it.

    It answers ``/healthz``, ``/readyz`` and ``/openapi.json``, and every error as a problem
    document.

    Args:
        settings: by default those of the environment.
        title: of the OpenAPI description.
        tenancy: with a resolver or an `authorize` of your own; then *settings* are its.

    Raises:
        SettingsError: the environment is not acceptable.
    """
    app = Quart(title)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    tenancy = tenancy or Tenancy(settings=settings)
    tenancy.init_app(app, probes=True)
    # The other pages of quart-schema repeat this one.
    QuartSchema(
        app,
        info=Info(title=title, version="1"),
        openapi_provider_class=described.by(REFUSALS),
        redoc_ui_path=None,
        scalar_ui_path=None,
    )
    for endpoint in DOCUMENTATION:
        if endpoint in app.view_functions:
            tenancy.exempt(app.view_functions[endpoint])
    described.answer_refusals(app)
    return app
