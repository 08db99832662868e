"""A body that a JSON schema accepts, with canaries wherever it takes text. Pure."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

Text = Callable[[str], str]  # from a field's name to a canary

_FORMATS = {
    "date": "2001-02-03",
    "date-time": "2001-02-03T12:00:00Z",
    "time": "12:00:00",
    "uuid": "6f1c2a52-0f7a-5d1e-9a55-1d1f3a3b4c5d",
    "ipv4": "192.0.2.1",
    "duration": "PT1H",
}
_BASE_NAMES = {"title", "name", "body", "text"}


def example(schema: Mapping[str, Any], text: Text, name: str = "") -> Any:  # noqa: ANN401
    """Return a value that *schema* (JSON Schema, `$ref` expanded) accepts."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for several in ("anyOf", "oneOf"):
        choices = [c for c in schema.get(several, ()) if c.get("type") != "null"]
        if choices:
            return example(choices[0], text, name)
    if schema.get("allOf"):
        return _all_of(schema["allOf"], text, name)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    return _of_type(str(kind or ("object" if "properties" in schema else "")), schema, text, name)


def _of_type(kind: str, schema: Mapping[str, Any], text: Text, name: str) -> Any:  # noqa: ANN401
    match kind:
        case "object":
            return {
                member: example(each, text, member)
                for member, each in schema.get("properties", {}).items()
            }
        case "array":
            count = max(1, int(schema.get("minItems", 1)))
            return [example(schema.get("items", {}), text, name) for _ in range(count)]
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
            return min(max(low, 1), schema.get("maximum", max(1, low)))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, text, name)


def _string(schema: Mapping[str, Any], text: Text, name: str) -> str:
    kind = schema.get("format", "")
    if kind in _FORMATS:
        return _FORMATS[kind]
    word = text(name)
    if kind in ("email", "idn-email"):
        return f"{word}@example.com"
    if kind in ("uri", "url"):
        return f"https://example.com/{word}"
    return word.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def _all_of(schemas: list[Mapping[str, Any]], text: Text, name: str) -> Any:  # noqa: ANN401
    values = [example(each, text, name) for each in schemas]
    if all(isinstance(value, dict) for value in values):
        return {member: value for each in values for member, value in each.items()}
    return values[0] if values else None


def guessed(columns: list[str], text: Text, *, as_form: bool) -> tuple[bytes, bytes]:
    """Return a body for a view that nothing describes, and its content type.

    Args:
        columns: that hold text, of the tables the view may be about.
        text: makes canaries.
        as_form: a form, not JSON.
    """
    members = {name: text(name) for name in sorted({*columns, *_BASE_NAMES})}
    if as_form:
        return urlencode(members).encode(), b"application/x-www-form-urlencoded"
    return json.dumps(members).encode(), b"application/json"
