"""Reports and surveys in words for people; pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from tenancy.migrate.files.words import some, span
from tenancy.migrate.ledger.runs import Run
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Step, Survey
from tenancy.migrate.report.outcomes import Report, summary

_TIME = "%Y-%m-%d %H:%M:%S %Z"


def report_lines(report: Report) -> Iterator[str]:
    """Yield what a person wants to know of a run: who was left out and why, then the sum."""
    told = (result for result in report.results if result.why)
    yield from grouped((f"{result.outcome}: {result.why}", result.named) for result in told)
    odd = ((f"warning: {result.shape}", result.named) for result in report.results if result.shape)
    yield from grouped(odd)
    yield f"{summary(report)} ({report.seconds:.1f} s)"


def plan_lines(found: Survey) -> Iterator[str]:
    """Yield what `up` would do, schemas of the same fate in one line."""
    yield from grouped((_fate(step), step.standing.named) for step in found.steps)
    if found.empty:
        yield "nothing applied yet"
    elif not any(step.position.verdict.refused for step in found.steps) and not found.of(
        Verdict.BEHIND
    ):
        yield "nothing pending"


def status_lines(found: Survey) -> Iterator[str]:
    """Yield who is not at the target, since when and why; then how many stand where."""
    if found.empty:
        yield "nothing applied yet"
    yield from (f"refused file: {reason}" for _, reason in found.unfit)
    if found.empty:
        return
    yield from _standing_lines(found)
    yield from grouped(
        (f"shape differs from {odd.others} others at the same files", odd.named)
        for odd in found.shapes
    )
    for stage, version, count in found.versions:
        yield f"{stage} {version}: {count} {'schema' if count == 1 else 'schemas'}"
    if found.holder:
        yield f"a run is under way: {found.holder}"
    if found.last_run is not None:
        yield _ran(found.last_run, under_way=bool(found.holder))
    if not found.steps:
        yield "all at the target"


def grouped(said: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield one line for all of whom the same is *said*, for a fleet fails in one way."""
    names: dict[str, list[str]] = {}
    for words, name in said:
        names.setdefault(words, []).append(name)
    for words, group in names.items():
        yield f"{some(group)}: {words}"


def _standing_lines(found: Survey) -> Iterator[str]:
    """Yield one line for all who stand at one place for one reason, with the times of them all."""
    groups: dict[tuple[str, ...], list[Step]] = {}
    for step in found.steps:
        key = (step.standing.version or "nothing", str(step.standing.failure or ""), _why(step))
        groups.setdefault(key, []).append(step)
    for (version, failure, words), steps in groups.items():
        names = some([step.standing.named for step in steps])
        if steps[0].standing.oid is None:
            yield f"{names}: the schema does not exist"
            continue
        since = min((step.standing.since for step in steps if step.standing.since), default=None)
        ats = (step.standing.failure.at for step in steps if step.standing.failure)
        failed = max((at for at in ats if at), default=None)
        yield f"{names}: at {version}" + "".join(
            [
                f" since {since:{_TIME}}" if since else "",
                f", failed {failed:{_TIME}}: {failure}" if failed else "",
                f", {words}" if words else "",
            ]
        )


def _why(step: Step) -> str:
    """Return why a schema is not at the target, besides a failure."""
    position, doubt, backfill = step.position, step.standing.doubt, step.standing.backfill
    found = [position.reason]
    if step.standing.failure is None and not position.reason:
        found = [f"{len(position.pending)} pending"]
    if doubt is not None:
        found.append(f"statement {doubt.step} of {doubt.version} was begun and has no end")
    if backfill is not None:
        total = f" of {backfill.total}" if backfill.total is not None else ""
        found.append(f"backfill {backfill.name}: {backfill.done}{total} rows")
    return ", ".join(filter(None, found))


def _ran(run: Run, *, under_way: bool) -> str:
    where = f"{run.command} on {run.host}, process {run.process_id}, {run.started_at:{_TIME}}"
    if run.outcome is None and under_way:
        return f"last run: {where}"
    outcome = run.outcome or "killed, or cut off"
    took = f" after {_seconds(run.started_at, run.finished_at)} s" if run.finished_at else ""
    return f"last run: {outcome}{took} ({where})" + (
        f"; `resume {run.id}` goes on with it" if run.unfinished else ""
    )


def _seconds(start: datetime, end: datetime) -> str:
    return f"{(end - start).total_seconds():.1f}"


def _fate(step: Step) -> str:
    pending = span([migration.label for migration in step.position.pending])
    return step.position.reason or f"to apply {pending}"
