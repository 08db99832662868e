"""What an application says of itself in /openapi.json; its framework's refusals as documents."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from quart import Quart, Response
from quart_schema import OpenAPIProvider, RequestSchemaValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from tenancy import problems
from tenancy.web.hooks import answered

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


def by(refusals: Mapping[int, str]) -> type[OpenAPIProvider]:
    """Return quart-schema's description, with *refusals*; a view that names no answer answers 204.

    Args:
        refusals: what any request may be answered instead of its view's own answer, in words.
    """

    class Description(OpenAPIProvider):
        """quart-schema's own, with those."""

        def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
            paths, components = super().build_paths(rule)
            for operations in paths.values():
                for operation in operations.values():
                    answers = operation["responses"] or {204: {"description": "Done."}}
                    operation["responses"] = {**_answers(refusals), **answers}
            return paths, {**components, "Problem": _PROBLEM}

    return Description


def answer_refusals(app: Quart) -> None:
    """Let *app* answer what it refuses by itself, such as 405, by problem documents."""
    app.register_error_handler(HTTPException, _refusal)
    app.register_error_handler(RequestSchemaValidationError, _invalid)
    for kind in (UnicodeDecodeError, RecursionError):  # JSON that is none, or too deep
        app.register_error_handler(kind, _unreadable)


def _answers(refusals: Mapping[int, str]) -> dict[int, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {code: {"description": words, "content": content} for code, words in refusals.items()}


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
