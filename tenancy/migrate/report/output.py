"""Reports and surveys in words for people, and as JSON objects for programs; pure."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tenancy.migrate.ledger.records import Failure
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Step, Survey
from tenancy.migrate.report.outcomes import Outcome, Report, Result, summary

_TIME = "%Y-%m-%d %H:%M:%S %Z"

# For people


def report_lines(report: Report) -> Iterator[str]:
    """Yield what a person wants to know of a run: who was left out and why, then the sum."""
    told = (result for result in report.results if result.why)
    yield from _grouped((f"{result.outcome}: {result.why}", result.named) for result in told)
    yield f"{summary(report)} ({report.seconds:.1f} s)"


def plan_lines(found: Survey) -> Iterator[str]:
    """Yield what `up` would do, schemas of the same fate in one line."""
    yield from _grouped((_fate(step), _called(step)) for step in found.steps)
    if found.empty:
        yield "nothing applied yet"
    elif not any(step.position.verdict.refused for step in found.steps) and not found.of(
        Verdict.BEHIND
    ):
        yield "nothing pending"


def status_lines(found: Survey) -> Iterator[str]:
    """Yield who is not at the target, since when and why; then how many stand where."""
    if not found.empty:
        yield from _grouped((why(step), _called(step)) for step in found.steps)
    for stage, version, count in found.versions:
        yield f"{stage} {version}: {count} {'schema' if count == 1 else 'schemas'}"
    if found.empty:
        yield "nothing applied yet"
    elif not found.steps:
        yield "all at the target"


def why(step: Step) -> str:
    """Return where a schema stands, since when, and why not at the target."""
    standing, position = step.standing, step.position
    if standing.oid is None:
        return "the schema does not exist"
    since = f" since {standing.since:{_TIME}}" if standing.since else ""
    at = f"at {standing.version or 'nothing'}{since}"
    if standing.failure is not None and standing.failure.at is not None:
        return f"{at}, failed {standing.failure.at:{_TIME}}: {standing.failure}"
    return f"{at}, {position.reason or f'{len(position.pending)} pending'}"


# For programs: one JSON object per line


def result_object(result: Result) -> dict[str, object]:
    """Return *result* as members of a JSON object."""
    return {
        "event": "schema",
        "stage": result.stage,
        "schema": result.schema,
        "tenant": result.tenant,
        "outcome": result.outcome,
        "applied": result.applied,
        "seconds": round(result.seconds, 3),
        "reason": result.reason or None,
        "failure": _failure_object(result.failure),
    }


def report_object(report: Report) -> dict[str, object]:
    """Return the sum of *report* as members of a JSON object."""
    counts = Counter(result.outcome for result in report.results)
    return {
        "event": "run",
        "run": str(report.run_id),
        "outcome": report.ending,
        **{outcome.value: counts[outcome] for outcome in Outcome if outcome is not Outcome.CURRENT},
        "left": report.left,
        "seconds": round(report.seconds, 3),
    }


def step_object(step: Step) -> dict[str, object]:
    """Return *step* as members of a JSON object."""
    standing, position = step.standing, step.position
    return {
        "event": "schema",
        "stage": standing.stage,
        "schema": standing.name,
        "exists": standing.oid is not None,
        "tenant": standing.tenant,
        "version": standing.version,
        "since": standing.since.isoformat() if standing.since else None,
        "verdict": position.verdict,
        "pending": [migration.version for migration in position.pending],
        "reason": position.reason or None,
        "failure": _failure_object(standing.failure),
    }


def survey_object(found: Survey) -> dict[str, object]:
    """Return the sum of *found* as members of a JSON object."""
    return {
        "event": "summary",
        "empty": found.empty,
        "behind": len(found.of(Verdict.BEHIND)),
        "ahead": len(found.of(Verdict.AHEAD)),
        "refused": len(found.refused),
        "versions": [
            {"stage": stage, "version": version, "schemas": count}
            for stage, version, count in found.versions
        ],
    }


def _failure_object(failure: Failure | None) -> dict[str, object] | None:
    if failure is None:
        return None
    return {
        "version": failure.version,
        "place": failure.place,
        "sqlstate": failure.sqlstate,
        "message": failure.message,
        "at": failure.at.isoformat() if failure.at else None,
    }


def _called(step: Step) -> str:
    standing = step.standing
    return f"{standing.tenant} ({standing.name})" if standing.tenant else standing.name


def _fate(step: Step) -> str:
    pending = ", ".join(migration.source.label for migration in step.position.pending)
    return step.position.reason or f"to apply {pending}"


def _grouped(said: Iterable[tuple[str, str]], shown: int = 5) -> Iterator[str]:
    """Yield one line for all of whom the same is *said*, for a fleet fails in one way."""
    names: dict[str, list[str]] = {}
    for words, name in said:
        names.setdefault(words, []).append(name)
    for words, group in names.items():
        more = f" and {len(group) - shown} more" if len(group) > shown else ""
        yield f"{', '.join(group[:shown])}{more}: {words}"
