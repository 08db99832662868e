"""Findings in words for people, and as JSON objects for programs; pure."""

from collections.abc import Iterable, Iterator, Sequence

from tenancy.migrate.lint.finding import Finding, Level


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield each finding: where, what, and what to write instead."""
    for one in findings:
        yield f"{one.place}: {one.level} {one.rule}: {one.why}"
        yield f"    instead: {one.instead}"


def summary(findings: Sequence[Finding], files: int) -> str:
    """Return the sum in one line."""
    if not findings:
        return f"nothing found in {_count(files, 'file')}"
    levels = [one.level for one in findings]
    counts = ", ".join(_count(levels.count(one), one) for one in Level if one in levels)
    concerned = len({one.label for one in findings})
    return f"{counts} in {concerned} of {_count(files, 'file')}"


def finding_object(one: Finding) -> dict[str, object]:
    """Return *one* as members of a JSON object."""
    return {
        "event": "finding",
        "file": one.label,
        "line": one.line,
        "column": one.column,
        "level": one.level,
        "rule": one.rule,
        "why": one.why,
        "instead": one.instead,
    }


def summary_object(findings: Sequence[Finding], files: int, *, squawk: bool) -> dict[str, object]:
    """Return the sum as members of a JSON object; *squawk*: whether its rules were asked."""
    levels = [one.level for one in findings]
    return {
        "event": "summary",
        "files": files,
        "errors": levels.count(Level.ERROR),
        "warnings": levels.count(Level.WARNING),
        "squawk": squawk,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
