"""``-- lint:ignore <rule> <reason>``: one finding that somebody has thought about; pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Kind

_COMMENT = re.compile(
    r"(?:--|\#|/\*)\s*lint:ignore(?P<file>-file)?\b[ \t]*(?P<rule>[^\s:,]*):?[ \t]*(?P<reason>.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Ignore:
    """One such comment.

    Attributes:
        start: its offset.
        first, last: between these offsets it keeps the rule silent.
        reason: why; empty: nobody says.
    """

    rule: str
    reason: str
    start: int
    first: int
    last: int


def ignores(whole: Source, source: Source) -> Iterator[Ignore]:
    """Yield the comments of a file.

    In SQL each is for the statement it stands above, in or behind; in Python for its line and the
    next.

    Args:
        whole: the file.
        source: what goes up.
    """
    if not whole.sql:
        yield from _python_ignores(whole.text)
    for token in whole.tokens:
        if token.kind in {Kind.LINE_COMMENT, Kind.BLOCK_COMMENT}:
            match = _COMMENT.match(token.text.removesuffix("*/"))
            if match:
                span = (0, len(whole.text)) if match["file"] else _span(source, token.start)
                yield Ignore(match["rule"].lower(), match["reason"].strip(), token.start, *span)


def _python_ignores(text: str) -> Iterator[Ignore]:
    start = 0
    for line in text.splitlines(keepends=True):
        match = _COMMENT.search(line) if "#" in line else None
        if match:
            end = text.find("\n", start + len(line))
            last = len(text) if end < 0 else end
            span = (0, len(text)) if match["file"] else (start, last)
            reason = match["reason"].strip()
            yield Ignore(match["rule"].lower(), reason, start + match.start(), *span)
        start += len(line)


def _span(source: Source, offset: int) -> tuple[int, int]:
    """Return where the statement begins and ends that a comment at *offset* speaks of."""
    before: tuple[int, int] | None = None
    for statement in source.statements:
        first, last = statement.start, statement.start + len(statement.text)
        if offset < last:
            behind = before is not None and "\n" not in source.text[before[1] : offset]
            return before if behind and before and offset < first else (first, last)
        before = first, last
    return before or (0, len(source.text))
