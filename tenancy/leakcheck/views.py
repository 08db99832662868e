"""What the application answers: from its URL map, its OpenAPI description, and the options."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tenancy.errors import SettingsError
from tenancy.leakcheck.options import Application

SAFE = ("GET",)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # reads first, what deletes last

_RULE = re.compile(r"<(?:(?P<kind>[a-z_]\w*)(?:\([^)]*\))?:)?(?P<name>\w+)>")
_PARAMETER = re.compile(r"{(\w+)}")
_REQUEST = re.compile(r"(?P<method>[A-Za-z]+)\s+(?P<path>/\S*)(?:\s+(?P<body>\S.*))?", re.DOTALL)
_LITERAL = ("tenant", "canary")


@dataclass(frozen=True, slots=True)
class View:
    """One operation of the application.

    Attributes:
        path: with parameters as ``{name}``.
        query: what must be in the query, as JSON schemas by name.
        body: JSON schema of the body; None: not described.
        text: the body itself, as an option gave it.
    """

    method: str
    path: str
    query: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    body: Mapping[str, Any] | None = None
    text: str | None = None

    @property
    def parameters(self) -> list[str]:
        """Names of the path's parameters."""
        return [name for name in _PARAMETER.findall(self.path) if name not in _LITERAL]

    @property
    def is_safe(self) -> bool:
        """Whether it may not change anything (RFC 9110, section 9.2.1)."""
        return self.method in SAFE

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def merged(*groups: Iterable[View]) -> list[View]:
    """Return each view once, the later groups' description of it, in the order of `METHODS`."""
    found: dict[tuple[str, str], View] = {}
    for view in (view for group in groups for view in group):
        found[view.method, _PARAMETER.sub("{}", view.path)] = view
    return sorted(found.values(), key=lambda v: (METHODS.index(v.method), v.path))


def of_url_map(app: Application) -> tuple[list[View], list[str]]:
    """Return the views of Quart's or Flask's kind of URL map, and the websockets it has."""
    views, websockets = [], []
    url_map = getattr(app, "url_map", None)
    for rule in url_map.iter_rules() if url_map is not None else ():
        if rule.endpoint == "static" or rule.endpoint.endswith(".static"):
            continue
        path = _RULE.sub(lambda match: f"{{{match['name']}}}", rule.rule)
        if getattr(rule, "websocket", False):
            websockets.append(f"WEBSOCKET {path}")
            continue
        views += [View(method, path) for method in METHODS if method in (rule.methods or ())]
    return views, websockets


def of_openapi(body: bytes) -> list[View]:
    """Return the views that an OpenAPI document describes; none where *body* is no such document.

    OpenAPI 3, "Paths Object".
    """
    try:
        document = json.loads(body)
    except ValueError:
        return []
    paths = document.get("paths") if isinstance(document, dict) else None
    return [
        _operation(document, method.upper(), path, item, item[method])
        for path, item in (paths or {}).items()
        for method in item
        if method.upper() in METHODS
    ]


def of_options(requests: Sequence[str]) -> list[View]:
    """Return the views that *requests*, each ``METHOD /path [JSON]``, name.

    Raises:
        SettingsError: one cannot be read.
    """
    views = []
    for text in requests:
        match = _REQUEST.fullmatch(text.strip())
        if match is None or match["method"].upper() not in METHODS:
            raise SettingsError(
                f"{text!r} is no request: write METHOD /path [JSON], with a method of "
                f"{', '.join(METHODS)}"
            )
        views.append(View(match["method"].upper(), match["path"], text=match["body"]))
    return views


def _operation(
    document: Mapping[str, Any],
    method: str,
    path: str,
    item: Mapping[str, Any],
    operation: Mapping[str, Any],
) -> View:
    view = View(method, path)
    query = []
    for each in [*item.get("parameters", ()), *operation.get("parameters", ())]:
        parameter = resolved(document, each)
        if parameter.get("in") == "query" and parameter.get("required"):
            query.append((parameter["name"], expanded(document, parameter.get("schema", {}))))
    content = resolved(document, operation.get("requestBody", {})).get("content", {})
    for kind, media in content.items():
        if "json" in kind:
            view = replace(view, body=expanded(document, media.get("schema", {})))
    return replace(view, query=tuple(query))


def resolved(document: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *node*, or what its ``$ref`` within the document leads to."""
    for _ in range(10):
        reference = node.get("$ref", "")
        if not reference.startswith("#/"):
            break
        found: Any = document
        for part in reference[2:].split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {})
        node = found
    return node


def expanded(document: Mapping[str, Any], node: Any, depth: int = 8) -> Any:  # noqa: ANN401
    """Return the JSON schema *node* with what it refers to put in its place."""
    if isinstance(node, list):
        return [expanded(document, each, depth) for each in node]
    if not isinstance(node, dict) or depth == 0:
        return {} if isinstance(node, dict) else node
    node = resolved({**document, **node}, node) if "$ref" in node else node
    return {
        name: value
        if name in ("enum", "const", "default")
        else expanded(document, value, depth - 1)
        for name, value in node.items()
    }
