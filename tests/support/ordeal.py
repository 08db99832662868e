"""A history of migrations that leaves evidence of each of its files: once, not at all, or half."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROWS = 40  # that data fixes and backfills go over

_FIRST = f"""
CREATE TABLE marks (file text NOT NULL, part text NOT NULL);
CREATE TYPE mood AS ENUM ('calm');
CREATE TABLE people (
    id int PRIMARY KEY, fixed int NOT NULL DEFAULT 0, filled int NOT NULL DEFAULT 0
);
INSERT INTO people SELECT generate_series(1, {ROWS});
"""
_TABLE = """
CREATE TABLE things_{v} (id int PRIMARY KEY, name text NOT NULL DEFAULT 'semicolons; in text');
CREATE INDEX things_{v}_name ON things_{v} (name);
"""
_FIX = """
-- Not idempotent: applied twice, every row tells.
UPDATE people SET fixed = fixed + 1;
"""
_FUNCTION = """
CREATE FUNCTION told_{v}() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    inner_text text := $$ a ; b $$;
BEGIN
    -- a comment with a ' and a ;
    RETURN NEW;
END;
$body$;
CREATE TRIGGER told_{v} BEFORE UPDATE ON marks FOR EACH ROW EXECUTE FUNCTION told_{v}();
"""
_DEFERRED = """
CREATE TABLE children_{v} (
    id int PRIMARY KEY, parent int REFERENCES marks_parents_{v} DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO children_{v} VALUES (1, 1);  -- whose parent comes after it
INSERT INTO marks_parents_{v} VALUES (1);
"""
_INDEX = """
-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY people_{v}_a ON people (fixed, id);
INSERT INTO marks SELECT '{v}', 'middle' FROM pg_sleep(0.01);
CREATE INDEX CONCURRENTLY people_{v}_b ON people (filled) WHERE fixed > 0;
"""
_VALUE = """
-- migrate:up transaction:false
ALTER TYPE mood ADD VALUE 'mood_{v}';
INSERT INTO marks SELECT '{v}', 'middle' FROM pg_sleep(0.01);
"""
_VACUUM = """
-- migrate:up transaction:false
INSERT INTO marks SELECT '{v}', 'middle' FROM pg_sleep(0.01);
VACUUM (ANALYZE) people;
CREATE UNIQUE INDEX CONCURRENTLY people_{v}_a ON people (id, filled);
"""
_BACKFILL = """
# migrate:up transaction:false


async def up(context):
    async for batch in context.batches("people", size=7, rest=0):
        await batch.conn.execute(
            "UPDATE people SET filled = filled + 1 WHERE id = ANY($1)", batch.keys
        )
"""


@dataclass(frozen=True)
class File:
    """One file, and what can be seen in a schema that has it.

    Attributes:
        evidence: what is there exactly once where the file was applied.
        steps: of a file that is no single transaction, what each statement leaves; empty: nothing.
            Of a file that is one, elsewhere none of the evidence is there.
        fixes: whether it adds 1 to `fixed` of each of the people.
        fills: whether it adds 1 to `filled`, in batches.
    """

    version: str
    kind: str
    text: str
    evidence: frozenset[str] = frozenset()
    steps: tuple[str, ...] = ()
    fixes: bool = False
    fills: bool = False
    suffix: str = "sql"

    @property
    def name(self) -> str:
        return f"{self.version}_{self.kind}.{self.suffix}"


@dataclass(frozen=True)
class Ordeal:
    """All files, in order; the first one makes what the others build on."""

    files: tuple[File, ...] = field(default_factory=tuple)

    def write(self, folder: Path) -> None:
        (folder / "tenant").mkdir(parents=True)
        for file in self.files:
            (folder / "tenant" / file.name).write_text(file.text)


def ordeal(count: int, special: Mapping[int, str]) -> Ordeal:
    """Return a history of *count* files: the first, then transactional ones of every kind in turn.

    Args:
        count: of files, from 1.
        special: which of them are not: "index", "value", "vacuum", "backfill".
    """
    found = []
    for number in range(1, count + 1):
        made = _first if number == 1 else _PLAIN[number % len(_PLAIN)]
        if number in special:
            made = _SPECIAL[special[number]]
        found.append(made(f"{number:04}"))
    return Ordeal(tuple(found))


def _marked(version: str, kind: str, body: str, *evidence: str, fixes: bool = False) -> File:
    text = f"INSERT INTO marks VALUES ('{version}', 'begin');{body}"
    text = f"{text}INSERT INTO marks VALUES ('{version}', 'end');\n"
    marks = (f"mark {version} begin", f"mark {version} end")
    return File(version, kind, text, frozenset((*marks, *evidence)), fixes=fixes)


def _first(version: str) -> File:
    return File(version, "first", _FIRST, frozenset(("relation marks", "relation people")))


def _table(version: str) -> File:
    names = (f"relation things_{version}", f"relation things_{version}_name")
    return _marked(version, "table", _TABLE.format(v=version), *names)


def _fix(version: str) -> File:
    return _marked(version, "fix", _FIX, fixes=True)


def _function(version: str) -> File:
    return _marked(version, "function", _FUNCTION.format(v=version), f"function told_{version}")


def _deferred(version: str) -> File:
    body = f"\nCREATE TABLE marks_parents_{version} (id int PRIMARY KEY);" + _DEFERRED
    names = (f"relation children_{version}", f"relation marks_parents_{version}")
    return _marked(version, "deferred", body.format(v=version), *names)


def _index(version: str) -> File:
    a, b = (f"relation people_{version}_{which}" for which in "ab")
    return _apart(version, "index", _INDEX, a, f"mark {version} middle", b)


def _value(version: str) -> File:
    return _apart(version, "value", _VALUE, f"label mood_{version}", f"mark {version} middle")


def _vacuum(version: str) -> File:
    name = f"relation people_{version}_a"
    return _apart(version, "vacuum", _VACUUM, f"mark {version} middle", "", name)


def _apart(version: str, kind: str, text: str, *steps: str) -> File:
    evidence = frozenset(filter(None, steps))
    return File(version, kind, text.lstrip().format(v=version), evidence, steps)


def _backfill(version: str) -> File:
    return File(version, "backfill", _BACKFILL.lstrip(), fills=True, suffix="py")


_PLAIN = (_table, _fix, _function, _deferred, _fix)
_SPECIAL = {"index": _index, "value": _value, "vacuum": _vacuum, "backfill": _backfill}
