"""Which reports there are, and what is written down of each."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from tenancy.errors import UnknownReportError
from tenancy.identifiers import REPORTS_SCHEMA, quoted

_REPORT = """
    SELECT name, table_name, columns, reader, tenants, digest, aside_at, created_at, refreshed_at
    FROM tenancy.reports
"""


@dataclass(frozen=True, slots=True)
class Report:
    """A view over one table of all tenants.

    Attributes:
        name: of the view, in the schema ``tenancy_reports``.
        table: in each tenant's schema.
        columns: that it shows; None: all.
        reader: the role that may read it.
        tenants: whose tables it read when it was made last.
        digest: of its definition then; None: it is to be made.
        aside_at: since when it answers with an error, while its tables are changed; None: it works.
        created_at, refreshed_at: with a time zone.
    """

    name: str
    table: str
    columns: tuple[str, ...] | None
    reader: str
    tenants: int
    digest: str | None
    aside_at: datetime | None
    created_at: datetime
    refreshed_at: datetime

    @property
    def view(self) -> str:
        """Its name as SQL."""
        return f"{REPORTS_SCHEMA}.{quoted(self.name)}"

    def as_json(self) -> dict[str, Any]:
        """Members for a JSON document."""
        return {
            "name": self.name,
            "view": f"{REPORTS_SCHEMA}.{self.name}",
            "table": self.table,
            "columns": None if self.columns is None else list(self.columns),
            "reader": self.reader,
            "tenants": self.tenants,
            "aside_at": self.aside_at and self.aside_at.isoformat(),
            "created_at": self.created_at.isoformat(),
            "refreshed_at": self.refreshed_at.isoformat(),
        }


async def every(conn: asyncpg.Connection) -> tuple[Report, ...]:
    """Return all reports, by name."""
    return tuple(map(_report, await conn.fetch(f"{_REPORT} ORDER BY name")))


async def held(conn: asyncpg.Connection, name: str) -> Report:
    """Return the report *name*, which nobody else changes until the transaction ends.

    Raises:
        UnknownReportError: there is none.
    """
    row = await conn.fetchrow(f"{_REPORT} WHERE name = $1 FOR UPDATE", name)
    if row is None:
        raise UnknownReportError(
            f"there is no report {name!r}: `python -m tenancy reports list` shows them"
        )
    return _report(row)


async def add(conn: asyncpg.Connection, report: Report) -> bool:
    """Write down *report*, which is to be made; False: there is one of that name."""
    return bool(
        await conn.fetchval(
            "INSERT INTO tenancy.reports (name, table_name, columns, reader) "
            "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING true",
            report.name,
            report.table,
            report.columns,
            report.reader,
        )
    )


async def made(conn: asyncpg.Connection, name: str, tenants: int, digest: str) -> None:
    """Write down what the report *name* was made of."""
    await conn.execute(
        "UPDATE tenancy.reports SET tenants = $2, digest = $3, aside_at = NULL, "
        "refreshed_at = now() WHERE name = $1",
        name,
        tenants,
        digest,
    )


async def aside(conn: asyncpg.Connection, name: str) -> None:
    """Write down that the report *name* reads no table."""
    await conn.execute(
        "UPDATE tenancy.reports SET aside_at = now(), digest = NULL WHERE name = $1", name
    )


async def forget(conn: asyncpg.Connection, name: str) -> None:
    """Strike the report *name*."""
    await conn.execute("DELETE FROM tenancy.reports WHERE name = $1", name)


def _report(row: asyncpg.Record) -> Report:
    columns = row["columns"]
    return Report(
        row["name"],
        row["table_name"],
        None if columns is None else tuple(columns),
        *(row[key] for key in ("reader", "tenants", "digest", "aside_at")),
        *(row[key] for key in ("created_at", "refreshed_at")),
    )
