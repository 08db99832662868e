"""What can be seen of a fleet in an ordeal, and whether that is what the ledger tells of it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import asyncpg

from support.ordeal import ROWS, Ordeal

_EVIDENCE = """
    SELECT n.nspname::text AS schema, e.what, count(*) AS times FROM pg_namespace AS n,
    LATERAL (
        SELECT concat('relation ', c.relname, CASE WHEN NOT i.indisvalid THEN ' (invalid)' END)
        FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
        WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'i')
        UNION ALL
        SELECT 'function ' || p.proname FROM pg_proc AS p WHERE p.pronamespace = n.oid
        UNION ALL
        SELECT 'label ' || l.enumlabel FROM pg_enum AS l
        JOIN pg_type AS t ON t.oid = l.enumtypid WHERE t.typnamespace = n.oid
    ) AS e (what)
    WHERE n.nspname LIKE 't\\_tenant\\_%' GROUP BY 1, 2
"""
_LEDGER = """
    SELECT n.nspname::text AS schema, m.version FROM tenancy.migrations AS m
    JOIN pg_namespace AS n ON n.oid = m.schema_oid WHERE m.stage = 'tenant'
"""
_CHECKPOINTS = """
    SELECT n.nspname::text AS schema, c.version, c.digest FROM tenancy.checkpoints AS c
    JOIN pg_namespace AS n ON n.oid = c.schema_oid WHERE c.stage = 'tenant'
"""
_STEPS = "SELECT schema_name, version, step, finished_at IS NOT NULL AS done FROM tenancy.steps"
_FILLED = "SELECT schema_name, sum(done)::bigint AS done FROM tenancy.backfills GROUP BY 1"
_MARKS = "SELECT '{0}', file, part, count(*) FROM {0}.marks GROUP BY file, part"
_PEOPLE = "SELECT '{0}', min(fixed), max(fixed), count(*), sum(filled) FROM {0}.people"


@dataclass
class Seen:
    """All that can be known of a fleet at one moment, by schema.

    Attributes:
        evidence: what the files have left: "relation x", "mark 0004 begin"; and how often.
        ledger: the versions.
        checkpoints: version and digest.
        steps: by schema and version, each statement that was begun, and whether it ended.
        fixed: of the people: the least and the most data fixes, and how many people there are.
        filled: how often backfills have come by, over all people.
        saved: what the ledger says of that.
    """

    evidence: dict[str, Counter[str]]
    ledger: dict[str, set[str]]
    checkpoints: dict[str, tuple[str, str]]
    steps: dict[tuple[str, str], dict[int, bool]]
    fixed: dict[str, tuple[int, int, int]]
    filled: dict[str, int]
    saved: dict[str, int]

    def differences(self, schema: str, ordeal: Ordeal, digests: dict[str, str]) -> Counter[str]:
        """Return how what is in *schema* differs from what the ledger says of it.

        half: traces of a file that is not in the ledger, nor a statement of it; false: a row of
        the ledger for what is not there; doubled: what was done more than once.
        """
        evidence, ledger = self.evidence.get(schema, Counter()), self.ledger.get(schema, set())
        found: Counter[str] = Counter()
        for file in ordeal.files:
            times = [evidence[what] for what in file.evidence]
            found["doubled"] += sum(n > 1 for n in times)
            if file.version in ledger:
                found["false"] += not all(times)
            else:
                steps = self.steps.get((schema, file.version), {})
                there = {what for what in file.evidence if evidence[what]}
                found["half"] += len(there - {file.steps[number - 1] for number in steps})
                ended = {file.steps[number - 1] for number, done in steps.items() if done}
                found["false"] += len(ended - there - {""})
        versions = sorted(ledger)
        found["half"] += versions != [file.version for file in ordeal.files][: len(versions)]
        right = (versions[-1], digests[versions[-1]]) if versions else None
        found["off the chain"] += self.checkpoints.get(schema) != right
        fixes = sum(file.fixes for file in ordeal.files if file.version in ledger)
        if versions:
            found["doubled"] += self.fixed[schema] != (fixes, fixes, ROWS)
            found["doubled"] += self.filled[schema] != self.saved.get(schema, 0)
        return found

    def complete(self, ordeal: Ordeal) -> int:
        """Return how many schemas have all files and everything that these make."""
        wanted = {what for file in ordeal.files for what in file.evidence}
        versions = {file.version for file in ordeal.files}
        fills = ROWS * sum(file.fills for file in ordeal.files)
        return sum(
            self.ledger[schema] == versions
            and wanted <= set(evidence)
            and self.filled[schema] == fills
            and not any("(invalid)" in what for what in evidence)
            for schema, evidence in self.evidence.items()
        )


async def look(conn: asyncpg.Connection) -> Seen:
    """Return what is there now; nobody migrates meanwhile."""
    evidence: dict[str, Counter[str]] = {}
    for row in await conn.fetch(_EVIDENCE):
        evidence.setdefault(row["schema"], Counter())[row["what"]] = row["times"]
    ledger: dict[str, set[str]] = {}
    for row in await conn.fetch(_LEDGER):
        ledger.setdefault(row["schema"], set()).add(row["version"])
    begun = [schema for schema, found in evidence.items() if found["relation marks"]]
    for schema, file, part, times in await _rows(conn, _MARKS, begun):
        evidence[schema][f"mark {file} {part}"] = times
    people = await _rows(conn, _PEOPLE, begun)
    steps: dict[tuple[str, str], dict[int, bool]] = {}
    for row in await conn.fetch(_STEPS):
        steps.setdefault((row["schema_name"], row["version"]), {})[row["step"]] = row["done"]
    return Seen(
        evidence,
        ledger,
        {r["schema"]: (r["version"], r["digest"]) for r in await conn.fetch(_CHECKPOINTS)},
        steps,
        {schema: (low, high, count) for schema, low, high, count, _ in people},
        {schema: filled for schema, *_, filled in people},
        {row["schema_name"]: row["done"] for row in await conn.fetch(_FILLED)},
    )


async def _rows(conn: asyncpg.Connection, query: str, schemas: list[str]) -> list[tuple[Any, ...]]:
    if not schemas:
        return []
    return [
        tuple(row)
        for row in await conn.fetch(" UNION ALL ".join(query.format(name) for name in schemas))
    ]
