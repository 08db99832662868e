"""What is wrong with tenants' schemas, whatever the others are like."""

from collections.abc import Iterator, Sequence

import asyncpg

from tenancy.migrate.files.model import Stage
from tenancy.migrate.ledger import checkpoints, cohorts, stamp
from tenancy.migrate.ledger.members import Member
from tenancy.migrate.ledger.reversals import UNFINISHED
from tenancy.migrate.shape.flaws import flaws
from tenancy.migrate.upkeep.verdicts import Fault

_MEANT = {"constraint"}  # NOT VALID may be a step on the way


async def examine(conn: asyncpg.Connection, members: Sequence[Member]) -> list[Fault]:
    """Return the faults of *members*; one query for each kind of fault, however many they are."""
    slugs = {member.oid: member.slug for member in members if member.oid}
    found: dict[tuple[str, bool], list[str]] = {}
    for flaw in await flaws(conn, list(slugs)):
        words = f"{flaw.kind} {flaw.name}: {flaw.what}"
        found.setdefault((words, flaw.kind not in _MEANT), []).append(slugs[flaw.schema_oid])
    for slug, words in (*_stamped(members), *await _damaged(conn, members)):
        found.setdefault((words, True), []).append(slug)
    return [Fault(tuple(of), words, serious) for (words, serious), of in sorted(found.items())]


def _stamped(members: Sequence[Member]) -> Iterator[tuple[str, str]]:
    """Yield those whose schema says in its comment that it stands elsewhere; pure."""
    for member in members:
        found = stamp.read(member.comment)
        if found is None or found == (member.version, member.digest):
            continue
        at = member.version or "nothing"
        if found[0] == member.version:
            words = f"its comment and the ledger say {at}, but not of the same files"
        else:
            words = f"its comment says it stands at {found[0]}, the ledger says {at}"
        yield member.slug, f"{words}: was it restored from a dump?"


async def _damaged(conn: asyncpg.Connection, members: Sequence[Member]) -> list[tuple[str, str]]:
    slugs = {member.schema: member.slug for member in members}
    words = "its rows in the ledger do not add up to its checkpoint: repair --rebuild-checkpoint"
    back = "it is half-way back: say `down` once more, to the version that it was to go to"
    return [
        (slugs[schema.name], back if cohort.digest.startswith(UNFINISHED) else words)
        for cohort in await cohorts.cohorts(conn, list(slugs))
        if cohort.stage is Stage.TENANT
        and (await checkpoints.history(conn, cohort.schemas[0].oid)).digest != cohort.digest
        for schema in cohort.schemas
    ]
