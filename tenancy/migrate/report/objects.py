"""Reports, surveys and events as JSON objects for programs, one per line; pure."""

from collections import Counter
from collections.abc import Iterator

from tenancy.migrate.ledger.records import Failure
from tenancy.migrate.ledger.runs import Run
from tenancy.migrate.plan.chain import Verdict
from tenancy.migrate.plan.steps import Step, Survey
from tenancy.migrate.report.events import (
    Backfilling,
    Finished,
    RunEvent,
    Started,
    Waiting,
    WaveBegun,
    WaveEnded,
)
from tenancy.migrate.report.outcomes import Outcome, Report, Result

Object = dict[str, object]


def event_object(event: RunEvent) -> Object | None:
    """Return *event* as members of a JSON object; None: it is for a display alone."""
    match event:
        case Finished(result, left):
            return {**result_object(result), "left": left}
        case Started() | WaveBegun() | WaveEnded():
            return _stage_object(event)
        case Waiting(schema, seconds, blocker):
            words = {"schema": schema, "seconds": round(seconds, 3), "blocker": blocker}
            return {"event": "waiting", **words}
        case Backfilling(schema, name, done, total):
            rows = {"done": done, "total": total}
            return {"event": "backfill", "schema": schema, "name": name, **rows}
    return None


def _stage_object(event: Started | WaveBegun | WaveEnded) -> Object:
    match event:
        case Started(run_id, command, schemas, waves):
            words = {"command": command, "schemas": schemas, "waves": waves}
            return {"event": "started", "run": str(run_id), **words}
        case WaveBegun(number, schemas, phases):
            words = {"canary": number == 0, "schemas": schemas, "phases": phases}
            return {"event": "wave", "wave": number, **words}
        case WaveEnded(number, failed, seconds, soak):
            words = {"failed": failed, "seconds": round(seconds, 3), "soak_seconds": soak}
            return {"event": "wave_ended", "wave": number, **words}


def result_object(result: Result) -> Object:
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
        "shape": result.shape or None,
    }


def report_object(report: Report) -> Object:
    """Return the sum of *report* as members of a JSON object."""
    counts = Counter(result.outcome for result in report.results)
    return {
        "event": "run",
        "run": str(report.run_id) if report.run_id else None,
        "outcome": report.ending,
        "stopped": report.stopped or None,
        **{outcome.value: counts[outcome] for outcome in Outcome if outcome is not Outcome.CURRENT},
        "shapes": sum(bool(result.shape) for result in report.results),
        "left": report.left,
        "seconds": round(report.seconds, 3),
    }


def step_object(step: Step) -> Object:
    """Return *step* as members of a JSON object."""
    standing, position = step.standing, step.position
    doubt, backfill = standing.doubt, standing.backfill
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
        "changed": position.changed,
        "failure": _failure_object(standing.failure),
        "doubt": doubt and {"version": doubt.version, "step": doubt.step},
        "backfill": backfill
        and {
            "version": backfill.version,
            "name": backfill.name,
            "done": backfill.done,
            "total": backfill.total,
        },
    }


def survey_object(found: Survey) -> Object:
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


def unfit_objects(found: Survey) -> Iterator[Object]:
    """Yield the pending files that are refused as members of a JSON object each."""
    for file, reason in found.unfit:
        yield {"event": "file", "file": file, "verdict": "refused", "reason": reason}


def status_object(found: Survey) -> Object:
    """Return the sum of a status as members of a JSON object."""
    return {
        **survey_object(found),
        "shapes": [
            {"tenant": odd.tenant, "schema": odd.schema, "others": odd.others}
            for odd in found.shapes
        ],
        "last_run": _run_object(found.last_run),
        "running": found.holder or None,
    }


def _run_object(run: Run | None) -> Object | None:
    if run is None:
        return None
    return {
        "run": str(run.id),
        "command": run.command,
        "outcome": run.outcome,
        "started": run.started_at.isoformat(),
        "finished": run.finished_at.isoformat() if run.finished_at else None,
        "host": run.host,
        "process": run.process_id,
    }


def _failure_object(failure: Failure | None) -> Object | None:
    if failure is None:
        return None
    return {
        "version": failure.version,
        "place": failure.place,
        "sqlstate": failure.sqlstate,
        "message": failure.message,
        "at": failure.at.isoformat() if failure.at else None,
    }
