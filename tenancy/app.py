"""`create_app`: what hypercorn serves.

``hypercorn -c config/hypercorn.toml "tenancy.app:create_app()"``
"""

from pydantic import ValidationError
from quart import Quart, Response
from quart_schema import Info, QuartSchema, RequestSchemaValidationError
from werkzeug.exceptions import HTTPException

from tenancy import problems
from tenancy.extension import Tenancy
from tenancy.settings import Settings
from tenancy.web.hooks import answered

DOCUMENTATION = ("openapi", "redoc_ui", "scalar_ui", "swagger_ui")  # endpoints of quart-schema
MAX_BODY_BYTES = 1024 * 1024


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
    QuartSchema(app, info=Info(title=title, version="1"), redoc_ui_path=None, scalar_ui_path=None)
    for endpoint in DOCUMENTATION:
        if endpoint in app.view_functions:
            tenancy.exempt(app.view_functions[endpoint])
    app.register_error_handler(HTTPException, _refusal)
    app.register_error_handler(RequestSchemaValidationError, _invalid)
    for kind in (
        UnicodeDecodeError,
        RecursionError,
    ):  # JSON that is none, or too deep
        app.register_error_handler(kind, _unreadable)
    return app


async def _refusal(error: HTTPException) -> Response:
    kept = [(k, v) for k, v in error.get_headers() if k.lower() != "content-type"]
    return answered(problems.of_status(error.code or 500), kept)  # Allow, Retry-After, Location


async def _invalid(error: RequestSchemaValidationError) -> Response:
    return answered(problems.of_status(422).naming(_faults(error.validation_error)))


async def _unreadable(_: Exception) -> Response:
    return answered(problems.of_status(400))


def _faults(error: Exception) -> list[dict[str, str]]:
    """Return which field is wrong and why, without what the client sent."""
    if not isinstance(error, ValidationError):
        return []
    return [
        {"field": ".".join(map(str, fault["loc"])), "reason": fault["msg"]}
        for fault in error.errors(include_input=False, include_url=False, include_context=False)
    ]
