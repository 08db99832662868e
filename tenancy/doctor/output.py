"""Findings for people."""

from collections.abc import Iterator, Sequence

from tenancy.doctor.finding import Finding, Level

AFTERWARDS = "then "  # so begins advice that is for when the cures have been run


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the report: the worst last, where a terminal shows it, then the sum."""
    order = list(Level)
    for finding in sorted(findings, key=lambda found: order.index(found.level)):
        yield from _of(finding)
    counts = {level: sum(found.level is level for found in findings) for level in Level}
    faults, warnings = counts[Level.FAULT], counts[Level.WARNING]
    yield f"{len(findings)} checks: {_counted(faults, 'fault')}, {_counted(warnings, 'warning')}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _of(finding: Finding) -> Iterator[str]:
    if finding.level is Level.OK:
        yield f"ok       {finding.id}"
        return
    yield f"{finding.level:<8} {finding.id}: {finding.what}"
    yield from (f"           {name}" for name in finding.names)
    if finding.count > len(finding.names):
        yield f"           and {finding.count - len(finding.names)} more: --all shows them"
    afterwards = finding.advice.startswith(AFTERWARDS)
    if finding.advice and not afterwards:
        yield f"         {finding.advice}"
    if finding.cures:
        yield f"         {finding.by}:"
        yield from (f"           {cure}" for cure in finding.cures)
    if afterwards:
        yield f"         {finding.advice}"
