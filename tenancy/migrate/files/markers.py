"""Which part of a file goes up and which down, in the spelling of six tools."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tenancy.errors import MigrationFileError
from tenancy.migrate.files import slips
from tenancy.migrate.files.directives import Word, options
from tenancy.migrate.files.source import Source, Span
from tenancy.migrate.files.splitter import Kind, Token

# A text without any of these has no markers, and need not be cut into tokens to know.
_HINT = re.compile(
    r"migrate:|\+goose|\+migrate|create above|disable-tx|no-transaction|morph:|atlas:",
    re.IGNORECASE,
)

_MARKERS = {
    "migrate": re.compile(r"--\s*migrate:(?P<name>\S*)(?P<options>.*)", re.IGNORECASE),
    "goose": re.compile(r"--\s*\+goose\b\s*(?P<name>\S*)(?P<options>.*)", re.IGNORECASE),
    "sql-migrate": re.compile(r"--\s*\+migrate\b\s*(?P<name>\S*)(?P<options>.*)", re.IGNORECASE),
    "tern": re.compile(
        r"----\s*(?P<name>create above\s*/\s*drop below|tern:\s*disable-tx)\s*----(?P<options>.*)",
        re.IGNORECASE,
    ),
    "sqlx": re.compile(r"-- (?P<name>no-transaction)\b(?P<options>)"),
    "morph": re.compile(r"--\s*morph:(?P<name>\S*)(?P<options>.*)"),
    "atlas": re.compile(r"--\s*atlas:(?P<name>\S*)(?P<options>.*)"),
}


class Marker(NamedTuple):
    """A comment that a tool reads."""

    tool: str
    name: str
    words: tuple[Word, ...]
    token: Token

    @property
    def rest(self) -> str:
        """What stands behind the name, in lower case."""
        return " ".join(word.text.lower() for word in self.words)


@dataclass(slots=True)
class Section:
    """One direction of a file.

    Attributes:
        span: where it stands in the text.
        options: fields of `Directives`, as its markers set them.
        marked: whether it begins with a marker of its own, or is what was left.
    """

    span: Span
    options: dict[str, Any] = field(default_factory=dict)
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Sections:
    """The directions of a file; one with a marker for down alone goes up above it.

    Attributes:
        tool: whose spelling it is in; None: in nobody's, and all of it goes up.
    """

    tool: str | None
    up: Section
    down: Section | None = None


def sections(source: Source) -> Sections:
    """Return what of *source* goes up, and what down.

    Raises:
        MigrationFileError: a marker that is unknown, stands where its tool does not read it, is of
            another tool than the one before, or is written so that nobody reads it.
    """
    whole = Sections(None, Section((0, len(source.text))))
    found = list(_markers(source)) if _HINT.search(source.text) else []
    slips.refuse(source, {marker.token.start for marker in found})
    if not found:
        return whole
    for marker in found:
        if marker.tool != found[0].tool:
            raise source.refusal(
                marker.token.start,
                f"a marker of {marker.tool} in a file with one of {found[0].tool}: "
                "keep to one spelling",
            )
    return _READERS[found[0].tool](source, found)


def _markers(source: Source) -> Iterator[Marker]:
    for token in source.tokens:
        if token.kind is not Kind.LINE_COMMENT:
            continue
        for tool, pattern in _MARKERS.items():
            match = pattern.match(token.text)
            if match is None or (tool == "sqlx" and token.start > 0):
                continue
            line = source.text[source.text.rfind("\n", 0, token.start) + 1 : token.start]
            if line.strip():
                raise source.refusal(token.start, "a directive stands on a line of its own")
            if tool == "migrate" and _is_prose(match):
                continue
            words = tuple(
                Word(word.group(), token.start + match.start("options") + word.start())
                for word in re.finditer(r"\S+", match["options"])
            )
            yield Marker(tool, " ".join(match["name"].lower().split()), words, token)


def _is_prose(match: re.Match[str]) -> bool:
    """Whether a sentence begins with "migrate:" by chance; ``migrate: up`` is a slip, though."""
    first = match["options"].split()[:1]
    return not match["name"] and first not in (["up"], ["down"])


def _unknown(source: Source, marker: Marker, known: str) -> MigrationFileError:
    text = " ".join(marker.token.text.split())
    return source.refusal(marker.token.start, f"{text!r} is no directive of {marker.tool}: {known}")


def _is_blank(source: Source, start: int, end: int) -> bool:
    return all(
        token.silent or not start <= token.start < end or token.text == ";"
        for token in source.tokens
    )


def _two(source: Source, tool: str, found: list[tuple[str, Marker, dict[str, Any]]]) -> Sections:
    """Return the sections between the markers *found*, each ``up`` or ``down``, in their order."""
    names = [name for name, _, _ in found]
    for at, (name, marker, _) in enumerate(found):
        if name in names[:at]:
            raise source.refusal(marker.token.start, f"{name} stands here a second time")
    if names == ["down", "up"]:
        raise source.refusal(found[1][1].token.start, "up goes above down")
    first = found[0][1].token.start
    if "up" in names and not _is_blank(source, 0, first):
        place = next(token.start for token in source.tokens if not token.silent)
        raise source.refusal(place, "this stands above the marker for up: move it below")
    ends = [marker.token.start for _, marker, _ in found[1:]] + [len(source.text)]
    parts = {
        name: Section((marker.token.start, end), given, marked=True)
        for (name, marker, given), end in zip(found, ends, strict=True)
    }
    return Sections(tool, parts.get("up") or Section((0, first)), parts.get("down"))


def _ours(source: Source, found: list[Marker]) -> Sections:
    parts = []
    for marker in found:
        if marker.name not in {"up", "down"}:
            raise _unknown(source, marker, "use migrate:up and migrate:down")
        given = options(marker.words, source.refusal)
        if marker.name == "down" and given.pop("order_any", None):
            raise source.refusal(marker.words[0].start, "order:any is for migrate:up alone")
        parts.append((marker.name, marker, given))
    return _two(source, "migrate", parts)


def _goose(source: Source, found: list[Marker]) -> Sections:
    parts, given, begun = [], dict[str, Any](), False
    for marker in found:
        spelled = f"{marker.name} {marker.rest}".strip()
        if spelled in {"up", "down"} and not begun:
            parts.append((spelled, marker, given))
        elif spelled == "no transaction":  # of the whole file, wherever it stands
            given["transactional"] = False
        elif spelled == "statementbegin" and not begun and parts:
            begun = True
        elif spelled == "statementend" and begun:
            begun = False
        elif spelled.startswith("env") and spelled.endswith(" on"):
            raise source.refusal(
                marker.token.start,
                "the environment's variables are not filled in here: write their values",
            )
        elif not (spelled.startswith("env") and spelled.endswith(" off")):
            known = "Up, Down, NO TRANSACTION, StatementBegin and StatementEnd, each in its place"
            raise _unknown(source, marker, f"it has {known}")
    if begun:
        raise source.refusal(found[-1].token.start, "StatementBegin without StatementEnd")
    return _complete(source, "goose", parts)


def _sql_migrate(source: Source, found: list[Marker]) -> Sections:
    parts, begun = [], False
    for marker in found:
        spelled = f"{marker.name} {marker.rest}".strip()
        if marker.name in {"up", "down"} and marker.rest in {"", "notransaction"} and not begun:
            given = {"transactional": False} if marker.rest else {}
            parts.append((marker.name, marker, given))
        elif spelled == "statementbegin" and not begun and parts:
            begun = True
        elif spelled == "statementend" and begun:
            begun = False
        else:
            known = (
                "Up and Down [notransaction], StatementBegin and StatementEnd, each in its place"
            )
            raise _unknown(source, marker, f"it has {known}")
    if begun:
        raise source.refusal(found[-1].token.start, "StatementBegin without StatementEnd")
    return _complete(source, "sql-migrate", parts)


def _complete(
    source: Source, tool: str, parts: list[tuple[str, Marker, dict[str, Any]]]
) -> Sections:
    if "up" not in [name for name, _, _ in parts]:
        raise source.refusal(0, f"a file of {tool} needs its marker for up, above the SQL")
    return _two(source, tool, parts)


def _tern(source: Source, found: list[Marker]) -> Sections:
    split = [marker for marker in found if marker.name.startswith("create")]
    if len(split) > 1:
        raise source.refusal(split[1].token.start, "the line between up and down stands here again")
    template = source.text.find("{{")
    if template >= 0:
        raise source.refusal(
            template, "tern's templates are not filled in: write what they stand for"
        )
    end = len(source.text)
    middle = split[0].token.start if split else end
    up, down = Section((0, middle)), Section((middle, end), marked=True)
    for marker in found:
        if marker not in split:  # of the part it stands in
            part = up if marker.token.start < middle else down
            part.options["transactional"] = False
    return Sections("tern", up, down if split else None)


def _untransacted(source: Source, found: list[Marker]) -> Sections:
    known = {"sqlx": "no-transaction", "morph": "nontransactional", "atlas": "txmode none"}
    for marker in found:
        if f"{marker.name} {marker.rest}".strip() != known[marker.tool]:
            raise _unknown(source, marker, f"here only {known[marker.tool]!r} is followed")
        if not _is_blank(source, 0, marker.token.start):
            raise source.refusal(marker.token.start, "this directive goes above the SQL")
    return Sections(
        found[0].tool, Section((0, len(source.text)), {"transactional": False}, marked=True)
    )


_READERS = {
    "migrate": _ours,
    "goose": _goose,
    "sql-migrate": _sql_migrate,
    "tern": _tern,
    "sqlx": _untransacted,
    "morph": _untransacted,
    "atlas": _untransacted,
}
