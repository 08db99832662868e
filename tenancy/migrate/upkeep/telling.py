"""What `verify`, `baseline` and `repair` found: words for people, JSON for programs; pure."""

from collections.abc import Iterator

from tenancy.migrate.files.words import some
from tenancy.migrate.report.output import grouped
from tenancy.migrate.shape.differences import Difference
from tenancy.migrate.upkeep.baseline import Baselined
from tenancy.migrate.upkeep.repair import Repairs
from tenancy.migrate.upkeep.restored import Restored
from tenancy.migrate.upkeep.verdicts import Verification

TOLD = 50  # groups of differences; --json tells all


def lines(found: Verification) -> Iterator[str]:
    """Yield who differs and how, the same difference once; then the sum."""
    for slugs, said in _gathered(found)[:TOLD]:
        yield f"{some(slugs)}:"
        yield from (f"  {line}" for line in said)
    if (more := len(_gathered(found)) - TOLD) > 0:
        yield f"and {more} more groups of tenants, each different in its own way: --json names all"
    for fault in found.faults:
        yield f"{some(fault.slugs)}: {fault.words}"
    left_out = ((f"not compared, {why}", slug) for slug, why in found.left_out.items())
    yield from grouped(left_out)
    yield _sum(found)


def objects(found: Verification) -> Iterator[dict[str, object]]:
    """Yield members of JSON objects: groups that differ, faults, tenants left out, the sum."""
    for odd in found.odd:
        told = [_difference(one) for one in odd.differences]
        yield {
            "event": "differs",
            "tenants": odd.slugs,
            "version": odd.version,
            "differences": told,
        }
    for fault in found.faults:
        yield {
            "event": "fault",
            "tenants": fault.slugs,
            "reason": fault.words,
            "serious": fault.serious,
        }
    for slug, why in found.left_out.items():
        yield {"event": "left_out", "tenant": slug, "reason": why}
    yield {
        "event": "verified",
        "against": found.against,
        "alike": found.alike,
        "differ": found.differing,
        "faults": sum(fault.serious for fault in found.faults),
        "left_out": len(found.left_out),
    }


def _difference(one: Difference) -> dict[str, object]:
    missing = "here" if one.here is None else "there"
    return {
        "kind": one.kind,
        "name": one.name,
        **(
            {"aspect": one.aspect, "here": one.here, "there": one.there}
            if one.aspect
            else {"missing": missing}
        ),
    }


def _gathered(found: Verification) -> list[tuple[list[str], list[str]]]:
    """Return tenants with what is said of them, those of whom the same is said together."""
    gathered: dict[tuple[str, ...], list[str]] = {}
    for odd in found.odd:
        said = tuple(str(one) for one in odd.differences) or ("differs",)
        gathered.setdefault(said, []).extend(odd.slugs)
    return [(slugs, list(said)) for said, slugs in gathered.items()]


def _sum(found: Verification) -> str:
    alike = [f"{count:,} at {version} alike" for version, count in sorted(found.alike.items())]
    odd = [slug for one in found.odd for slug in one.slugs]
    parts = [*alike, *([f"{len(odd):,} differ"] if odd else [])]
    if serious := sum(len(fault.slugs) for fault in found.faults if fault.serious):
        parts.append(f"{serious:,} {'fault' if serious == 1 else 'faults'}")
    if found.left_out:
        parts.append(f"{len(found.left_out):,} not compared")
    told = f": {some(sorted(odd))}" if odd else ""
    return f"against {found.against}: {'; '.join(parts) or 'no tenant'}{told}"


def baseline_lines(found: Baselined) -> Iterator[str]:
    """Yield who was refused and why; then the sum."""
    for odd in found.odd:
        yield f"{some(odd.slugs)}: not what the files up to {found.version} make:"
        yield from (f"  {one}" for one in odd.differences)
    yield from grouped((f"refused, {why}", slug) for slug, why in found.refused.items())
    parts = [f"{len(found.done):,} marked"]
    parts += [f"{len(found.already):,} were there"] if found.already else []
    refused = len(found.refused) + sum(len(odd.slugs) for odd in found.odd)
    parts += [f"{refused:,} refused"] if refused else []
    yield f"baseline {found.version}: {', '.join(parts)}"


def baseline_objects(found: Baselined) -> Iterator[dict[str, object]]:
    """Yield members of JSON objects: tenants that were refused, the sum."""
    for odd in found.odd:
        told = [_difference(one) for one in odd.differences]
        yield {"event": "differs", "tenants": odd.slugs, "differences": told}
    for slug, why in found.refused.items():
        yield {"event": "refused", "tenant": slug, "reason": why}
    yield {
        "event": "baseline",
        "version": found.version,
        "marked": found.done,
        "already": found.already,
    }


def repair_lines(found: Repairs) -> Iterator[str]:
    """Yield what would change, one paragraph for schemas with the same history."""
    for one in found.planned:
        names = [schema.name for schema in one.cohort.schemas]
        yield f"{one.cohort.stage} ({len(names):,}): {some(names)}"
        if one.mend.refusal:
            yield f"  refused: {one.mend.refusal}"
        else:
            yield from (f"  {line}" for line in one.mend.words())
    if found.gone:
        names = [f"{gone.name} at {gone.version or 'nothing'}" for gone in found.gone]
        yield f"gone ({len(names):,}): {some(names)}"


def repair_objects(found: Repairs) -> Iterator[dict[str, object]]:
    """Yield members of JSON objects: what would change."""
    for one in found.planned:
        yield {
            "event": "repair",
            "stage": one.cohort.stage,
            "schemas": [schema.name for schema in one.cohort.schemas],
            "changes": [] if one.mend.refusal else list(one.mend.words()),
            "refused": one.mend.refusal or None,
        }
    for gone in found.gone:
        yield {"event": "gone", "schema": gone.name, "oid": gone.oid, "version": gone.version}


def restored_lines(found: Restored) -> Iterator[str]:
    """Yield whose rows are to follow which schemas, and whose cannot."""
    if found.recognized:
        yield f"{some([one.name for one in found.recognized])}: known again by name and stamp"
    for one in found.doubtful:
        yield (
            f"{one.name}: its stamp is not what the ledger says of it, so its rows are not "
            "its own; see `verify --against files`, then `baseline`"
        )
    if not found.recognized and not found.doubtful:
        yield "nothing to put right"


def restored_objects(found: Restored) -> Iterator[dict[str, object]]:
    """Yield members of JSON objects: one for each schema that the ledger knows by another oid."""
    for recognized, some_of in ((True, found.recognized), (False, found.doubtful)):
        for one in some_of:
            yield {"event": "restored", "schema": one.name, "recognized": recognized}
