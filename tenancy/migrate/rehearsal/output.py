"""A rehearsal in words for people, and as JSON objects for programs; pure."""

from collections.abc import Iterator

from tenancy.migrate.ledger.records import Failure
from tenancy.migrate.rehearsal.records import WORDS, How, Lock, Rehearsal, Rewrite, Step, Tried

_KILOBYTE = 1024


def lines(one: Rehearsal) -> Iterator[str]:
    """Yield what a person wants to know, file by file and statement by statement."""
    where = "in a clone" if one.how is How.CLONE else "rolled back"
    yield f"{one.tenant} ({one.schema}), from {one.version or 'nothing'}, {where}"
    for tried in one.tried:
        yield from _file(tried)
    for name, count in one.advanced:
        yield f"sequence {name} has gone on by {count}: these numbers are left out, nothing else"
    yield verdict(one)


def verdict(one: Rehearsal) -> str:
    """Return in one line whether `up` would work, and who would wait for how long."""
    skipped = sum(1 for tried in one.tried if tried.skipped)
    left = f", {skipped} not tried" if skipped else ""
    count = len(one.tried) - skipped
    if one.failure:
        return f"verdict: would fail: {one.failure}"
    files = f"{count} file{'' if count == 1 else 's'}"
    waits = [words for tried in one.tried for words in _waits(tried)]
    who = f"; {'; '.join(waits)}" if waits else "; blocks nobody"
    empty = " (without rows)" if one.how is How.CLONE else ""
    return f"verdict: would pass: {files} in {one.seconds:.3f} s{empty}{left}{who}"


def rehearsal_object(one: Rehearsal) -> dict[str, object]:
    """Return *one* as members of a JSON object."""
    return {
        "event": "rehearsal",
        "tenant": one.tenant,
        "schema": one.schema,
        "how": one.how,
        "version": one.version or None,
        "passed": one.failure is None,
        "seconds": round(one.seconds, 6),
        "failure": _failure_object(one.failure),
        "advanced": [{"sequence": name, "by": count} for name, count in one.advanced],
        "files": [_file_object(tried) for tried in one.tried],
    }


def _file(tried: Tried) -> Iterator[str]:
    if tried.skipped:
        yield f"{tried.label}: not tried: {tried.skipped}"
        return
    yield f"{tried.label}: {tried.seconds:.3f} s"
    for step in tried.steps:
        yield f"    {_step(step)}"
    for words in _waits(tried):
        yield f"    {words}"
    if tried.failure:
        yield f"    fails: {tried.failure}"
    if tried.outside:
        yield f"    changes {tried.outside}, outside of the clone: taken back; the clone ends here"


def _waits(tried: Tried) -> Iterator[str]:
    for table, (blocks, seconds) in sorted(tried.blocked.items()):
        yield f"{WORDS[blocks]} of {table} wait for {seconds:.3f} s in {tried.label}"


def _step(step: Step) -> str:
    place = ":".join(step.place.rsplit(":", 2)[1:])
    rows = f", {step.rows} row{'' if step.rows == 1 else 's'}" if step.rows is not None else ""
    parts = [f"{place} {step.head}: {step.seconds:.3f} s{rows}"]
    parts += [f"locks {one.table} ({one.mode}: {WORDS[one.blocks]} wait)" for one in step.locks]
    parts += [f"rewrites {_rewrite(one)}" for one in step.rewritten]
    parts += [f"builds {name}" for name in step.built]
    parts += ["CONCURRENTLY left out here"] if step.concurrent else []
    return "; ".join(parts)


def _rewrite(one: Rewrite) -> str:
    size = f"{one.size} B" if one.size < _KILOBYTE else f"{one.size // _KILOBYTE:,} kB"
    rows = f", about {one.rows:,} rows" if one.rows is not None else ""
    return f"{one.name} ({size}{rows})"


def _file_object(tried: Tried) -> dict[str, object]:
    return {
        "file": tried.label,
        "skipped": tried.skipped or None,
        "outside": tried.outside or None,
        "seconds": round(tried.seconds, 6),
        "failure": _failure_object(tried.failure),
        "blocked": [
            {"table": table, "traffic": WORDS[blocks], "seconds": round(seconds, 6)}
            for table, (blocks, seconds) in sorted(tried.blocked.items())
        ],
        "steps": [_step_object(step) for step in tried.steps],
    }


def _step_object(step: Step) -> dict[str, object]:
    return {
        "place": step.place,
        "statement": step.head,
        "seconds": round(step.seconds, 6),
        "rows": step.rows,
        "locks": [_lock_object(one) for one in step.locks],
        "rewritten": [
            {"table": one.name, "bytes": one.size, "rows": one.rows} for one in step.rewritten
        ],
        "indexes": list(step.built),
        "concurrent": step.concurrent,
    }


def _lock_object(one: Lock) -> dict[str, object]:
    return {"table": one.table, "mode": one.mode, "blocks": WORDS[one.blocks]}


def _failure_object(failure: Failure | None) -> dict[str, object] | None:
    if failure is None:
        return None
    return {"place": failure.place, "sqlstate": failure.sqlstate, "message": failure.message}
