"""A report's view as SQL; pure. Names and types come quoted, from the server."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from tenancy.identifiers import literal

OURS = ("tenant", "tenant_id")  # its first columns

_TEXT = "text"
_DEFAULT = ' COLLATE pg_catalog."default"'


@dataclass(frozen=True, slots=True)
class Column:
    """One column of one tenant's table.

    Attributes:
        name: quoted where it has to be.
        position: in the table, from 1.
        exact: its type as SQL, with its length or precision.
        type: without those.
        collation: its oid; 0: the type has none.
        foreign: whether the type is in a tenant's schema, and so is another one for each.
    """

    name: str
    position: int
    exact: str
    type: str
    collation: int
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One tenant's table.

    Attributes:
        table: with its schema, quoted.
        columns: by their names.
        locks: how many a query takes on it: one for each table, partition and index.
    """

    tenant_id: UUID
    slug: str
    table: str
    columns: Mapping[str, Column]
    locks: int


@dataclass(frozen=True, slots=True)
class _Shown:
    """A column of the view: its type, and what is behind each value, where that differs."""

    name: str
    type: str
    collate: str


def view(name: str, members: Sequence[Member], chosen: Iterable[str] | None, default: int) -> str:
    """Return what makes the view *name*: the rows of all *members*, each with whose it is.

    A column that a table lacks is null there. One whose type differs from table to table is text.

    Args:
        name: qualified and quoted.
        members: whose tables; none: the view has no rows.
        chosen: quoted names of the columns to show, in order; None: all that there are.
        default: the oid of the database's default collation.
    """
    shown = [_shown(column, members, default) for column in _names(members, chosen)]
    header = ", ".join((*OURS, *(column.name for column in shown)))
    rows = _together([_rows(member, shown) for member in members]) if members else _none(shown)
    return f"VIEW {name} ({header}) AS {rows}"


def clashes(members: Iterable[Member]) -> list[str]:
    """Return those of the tables' own columns that are called as the view's first ones."""
    return sorted({name for member in members for name in member.columns if name in OURS})


def _names(members: Sequence[Member], chosen: Iterable[str] | None) -> list[str]:
    if chosen is not None:
        return list(chosen)
    places: dict[str, int] = {}
    for member in members:
        for column in member.columns.values():
            if column.name not in OURS:
                place = places.get(column.name, column.position)
                places[column.name] = min(place, column.position)
    return sorted(places, key=lambda name: (places[name], name))


def _shown(name: str, members: Sequence[Member], default: int) -> _Shown:
    has = [member.columns[name] for member in members if name in member.columns]
    exact, plain = {column.exact for column in has}, {column.type for column in has}
    if any(column.foreign for column in has) or len(plain) != 1:
        kind = _TEXT
    else:
        kind = exact.pop() if len(exact) == 1 else plain.pop()
    # The default gives way to another one. Two others are none, and no view has a column like that.
    collations = {column.collation for column in has} - {0, default}
    return _Shown(name, kind, _DEFAULT if len(collations) > 1 else "")


def _rows(member: Member, shown: Sequence[_Shown]) -> str:
    values = [f"{literal(member.slug)}::text", f"{literal(str(member.tenant_id))}::uuid"]
    for column in shown:
        has = member.columns.get(column.name)
        value = "NULL" if has is None else has.name
        cast = "" if has is not None and has.exact == column.type else f"::{column.type}"
        values.append(f"{value}{cast}{column.collate}")
    return f"SELECT {', '.join(values)} FROM {member.table}"


def _none(shown: Sequence[_Shown]) -> str:
    nothing = ("NULL::text", "NULL::uuid", *(f"NULL::{column.type}" for column in shown))
    return f"SELECT {', '.join(nothing)} WHERE false"


def _together(parts: Sequence[str]) -> str:
    """Return the union of *parts* as a low tree: the server goes down it on its stack."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_together(parts[:half])} UNION ALL {_together(parts[half:])})"
