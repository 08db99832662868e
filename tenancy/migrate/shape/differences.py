"""How two schemas differ, object by object, in words for people; pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tenancy.migrate.shape.description import Object

_LONGEST = 120  # characters of one value in a line
_OPPOSITE = {"yes": "no", "no": "yes"}
_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One thing in which the schema *here* is not like the one *there*.

    Attributes:
        kind, name: the object.
        aspect: what about it; empty: the object itself is missing on one side.
        here, there: what is said of it on each side; None: nothing is.
    """

    kind: str
    name: str
    aspect: str
    here: str | None
    there: str | None

    def __str__(self) -> str:
        what = f"{self.kind} {self.name}".rstrip()
        if not self.aspect:
            return f"{what}: {'missing' if self.here is None else 'only'} here"
        here, there = _shown(self.here, self.there)
        return f"{what}: {self.aspect} {here}, there {there}"


def differences(here: Iterable[Object], there: Iterable[Object]) -> tuple[Difference, ...]:
    """Return in what *here* differs from *there*; none, exactly if their fingerprints are equal.

    What goes with a table that one side does not have is not told besides, nor is the index of a
    constraint. Where columns stand in another order, that is one difference of their table.
    """
    ours, theirs = _by_key(here), _by_key(there)
    found = [*_missing(ours, theirs), *_changed(ours, theirs), *_reordered(ours, theirs)]
    return tuple(sorted(found, key=lambda one: (one.name, one.kind, one.aspect)))


def shortened(difference: Difference) -> Difference:
    """Return *difference* with values that fit into a line."""
    if not difference.aspect:
        return difference
    values = _shown(difference.here, difference.there)
    return Difference(difference.kind, difference.name, difference.aspect, *values)


def _by_key(objects: Iterable[Object]) -> dict[_Key, Object]:
    return {one.key: one for one in objects}


def _missing(ours: Mapping[_Key, Object], theirs: Mapping[_Key, Object]) -> Iterator[Difference]:
    alone = {key: (ours.get(key) or theirs[key]) for key in ours.keys() ^ theirs.keys()}
    whole = {one.name for one in alone.values() if one.parent is None}
    constraints = {
        (one.parent, one.name.removeprefix(f"{one.parent}."))
        for one in alone.values()
        if one.kind == "constraint"
    }
    for key, one in alone.items():
        implied = one.parent in whole or (
            one.kind == "index" and (one.parent, one.name) in constraints
        )
        if not implied:
            here, there = ("", None) if key in ours else (None, "")
            yield Difference(one.kind, one.name, "", here, there)


def _changed(ours: Mapping[_Key, Object], theirs: Mapping[_Key, Object]) -> Iterator[Difference]:
    for key in ours.keys() & theirs.keys():
        here, there = ours[key], theirs[key]
        for aspect in here.aspects.keys() | there.aspects.keys():
            values = here.aspects.get(aspect), there.aspects.get(aspect)
            if values[0] != values[1] and not (here.kind == "column" and aspect == "position"):
                yield Difference(here.kind, here.name, aspect, *values)


def _reordered(ours: Mapping[_Key, Object], theirs: Mapping[_Key, Object]) -> Iterator[Difference]:
    both = ours.keys() & theirs.keys()
    here = _columns(ours[key] for key in both)
    there = _columns(theirs[key] for key in both)
    for table in here:
        if here[table] != there[table]:
            yield Difference(
                "table", table, "columns", ", ".join(here[table]), ", ".join(there[table])
            )


def _columns(objects: Iterable[Object]) -> dict[str, list[str]]:
    """Return the names of each table's columns in their order."""
    columns = [one for one in objects if one.kind == "column"]
    found: dict[str, list[str]] = {}
    for one in sorted(columns, key=lambda column: int(column.aspects["position"])):
        found.setdefault(str(one.parent), []).append(one.name.removeprefix(f"{one.parent}."))
    return found


def _shown(here: str | None, there: str | None) -> tuple[str, str]:
    """Return both values short enough for a line: of long texts, where they begin to differ."""
    if here is None or there is None:
        return _word(here, there), _word(there, here)
    ours, theirs = here.split("\n"), there.split("\n")
    for number, (first, second) in enumerate(zip(ours, theirs, strict=False), start=1):
        if first != second and max(len(ours), len(theirs)) > 1:
            first, second = _cut(first, second)  # noqa: PLW2901 - shorter
            return f"line {number} {first}", second
    if len(ours) != len(theirs):
        return f"of {len(ours)} lines", f"of {len(theirs)}"
    return _cut(here, there)


def _word(value: str | None, other: str | None) -> str:
    if value is None:
        return _OPPOSITE.get(other or "", "none")
    return _short(value)


def _cut(here: str, there: str) -> tuple[str, str]:
    """Return both, and of long ones the part around the first character that differs."""
    if max(len(here), len(there)) <= _LONGEST:
        return here, there
    same = next(
        (at for at, (ours, theirs) in enumerate(zip(here, there, strict=False)) if ours != theirs),
        min(len(here), len(there)),
    )
    start = max(0, same - _LONGEST // 3)
    return _short(here, start), _short(there, start)


def _short(text: str, start: int = 0) -> str:
    line = " ".join(text[start:].split())
    before = "..." if start else ""
    after = "..." if len(line) > _LONGEST else ""
    return f"{before}{line[:_LONGEST]}{after}"
