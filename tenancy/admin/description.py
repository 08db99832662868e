"""What the API says of itself in /openapi.json."""

from typing import Any

from werkzeug.routing import BaseConverter, Rule, ValidationError

from tenancy import identifiers
from tenancy.admin import marks
from tenancy.web import described

# What any request may be answered instead of its view's own answer.
REFUSALS = {
    400: "The host, the target, the body or a header is malformed.",
    401: "There is no bearer token, or it is none of ours, revoked or expired.",
    403: "The token does not allow this.",
    404: "There is no such tenant or domain, or nothing at this address.",
    405: "This address does not take that method.",
    408: "The body took too long to arrive.",
    409: "A name is taken, or the tenant's state does not allow this.",
    412: "The tenant was changed since it was read: see If-Match.",
    413: "The body is too large.",
    415: "The body is not of a type that is understood here.",
    421: "This service does not answer for that host.",
    422: "The request does not fit its description, or a name cannot be used.",
    428: "The change needs If-Match.",
    429: "Too many requests: see Retry-After.",
    500: "The server failed; nothing is known to be saved.",
    503: "Busy, not ready, or the outcome is unknown: see `code` and Retry-After.",
    504: "The database took too long.",
}


class SlugConverter(BaseConverter):
    """The part of a path that has the form of a slug; nothing else is a tenant's."""

    regex = r"[a-z][a-z0-9-]*"

    def to_python(self, value: str) -> str:
        """Return *value*; there is nothing at an address with another."""
        if not identifiers.is_slug(value):
            raise ValidationError
        return value


class Description(described.by(REFUSALS)):  # type: ignore[misc]
    """Each operation with the scope that it needs, and the headers that it takes and gives."""

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what is said of the addresses of *rule*."""
        paths, components = super().build_paths(rule)
        asked = marks.of(self._app.view_functions[rule.endpoint])
        for operations in paths.values():
            for operation in operations.values():
                if asked is None or asked.scope is None:
                    operation["security"] = []
                if asked is not None:
                    _describe(operation, asked)
        return paths, components

    def build_path_parameter(self, name: str, converter: BaseConverter) -> dict[str, Any]:
        """Return what is said of a part of a path."""
        parameter: dict[str, Any] = super().build_path_parameter(name, converter)
        if isinstance(converter, SlugConverter):
            longest = identifiers.MAX_SLUG_LENGTH
            pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$"
            parameter["schema"] |= {"pattern": pattern, "maxLength": longest}
        return parameter


def _describe(operation: dict[str, Any], asked: marks.Needs) -> None:
    if asked.scope is not None:
        needs = f"Needs the scope `{asked.scope}`."
        operation["description"] = f"{operation.get('description', '').strip()}\n\n{needs}".strip()
    headers = []
    if asked.if_match is not None:
        headers.append(("If-Match", "The ETag that was read, or *: any.", asked.if_match))
    if asked.if_none_match:
        headers.append(("If-None-Match", "The ETag that is known.", False))
        operation["responses"][304] = {"description": "It is as it was."}
    if asked.idempotency_key:
        headers.append(("Idempotency-Key", "Of this request, sent again or not.", False))
    operation["parameters"] = operation["parameters"] + [
        {
            "name": name,
            "in": "header",
            "required": required,
            "description": words,
            "schema": {"type": "string"},
        }
        for name, words, required in headers
    ]
