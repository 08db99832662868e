"""`create_app`: what hypercorn serves.

``hypercorn -c config/hypercorn.toml "tenancy.app:create_app()"``
"""

from typing import Any

from pydantic import ValidationError
from quart import Quart, Response
from quart_schema import Info, OpenAPIProvider, QuartSchema, RequestSchemaValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from tenancy import problems
from tenancy.extension import Tenancy
from tenancy.settings import Settings
from tenancy.web.hooks import answered

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
_PROBLEM = {
    "type": "object",
    "description": "Why a request was refused (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; what programs should look at."},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["type", "title", "status", "code"],
}


class _Description(OpenAPIProvider):
    """quart-schema's, with the refusals; a view that names no answer of its own answers 204."""

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        paths, components = super().build_paths(rule)
        problem = {"$ref": "#/components/schemas/Problem"}
        for operations in paths.values():
            for operation in operations.values():
                answers = operation["responses"] or {204: {"description": "Done."}}
                refusals = {
                    status: {
                        "description": words,
                        "content": {problems.MEDIA_TYPE: {"schema": problem}},
                    }
                    for status, words in REFUSALS.items()
                }
                operation["responses"] = {**refusals, **answers}
        return paths, {**components, "Problem": _PROBLEM}


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
        openapi_provider_class=_Description,
        redoc_ui_path=None,
        scalar_ui_path=None,
    )
    for endpoint in DOCUMENTATION:
        if endpoint in app.view_functions:
            tenancy.exempt(app.view_functions[endpoint])
    app.register_error_handler(HTTPException, _refusal)
    app.register_error_handler(RequestSchemaValidationError, _invalid)
    for kind in (UnicodeDecodeError, RecursionError):  # JSON that is none, or too deep
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
