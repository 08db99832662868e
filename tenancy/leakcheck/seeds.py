"""The two tenants, and the rows seeded for them. Pure."""

from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import asyncpg

from tenancy.leakcheck.tables import Column, Table


@dataclass(frozen=True, slots=True)
class CanaryTenant:
    """One of the two.

    Attributes:
        number: 0 or 1.
        schema: of its tables; with rows of all tenants in one table it is the other one's too.
    """

    number: int
    name: str
    schema: str


@dataclass(frozen=True, slots=True)
class Seed:
    """A value of a seeded row that a request may name."""

    tenant: int
    table: str
    column: str
    value: str
    is_key: bool


def identity(tenant: CanaryTenant, column: Column) -> str:
    """Return what says that a row is *tenant's*, in a *column* that refers to no table."""
    if column.base == "uuid":
        return str(uuid5(NAMESPACE_DNS, tenant.name))
    return str(tenant.number + 1) if column.category == "N" else tenant.name


def insert(table: Table, row: dict[int, str]) -> tuple[Any, ...]:
    """Return the statement and arguments that insert *row*, its values written as text."""
    columns = [table.columns[number] for number in row]
    names = ", ".join(c.quoted for c in columns)
    casts = ", ".join(f"CAST(${n}::text AS {c.declared})" for n, c in enumerate(columns, 1))
    sql = (
        f"INSERT INTO {table.quoted} ({names}) OVERRIDING SYSTEM VALUE "
        f"VALUES ({casts}) ON CONFLICT DO NOTHING"
    )
    return sql, *row.values()


def culprits(
    table: Table, error: asyncpg.PostgresError, candidates: dict[int, list[str]]
) -> tuple[int, ...]:
    """Return the columns whose values *error* is about, those with another one to try."""
    numbers = table.checks.get(getattr(error, "constraint_name", None) or "")
    if numbers is None:
        kind = getattr(error, "data_type_name", None)
        numbers = tuple(n for n, c in table.columns.items() if not kind or c.type_name == kind)
    return tuple(n for n in numbers if len(candidates.get(n, ())) > 1)
