"""Reports: views over one table of all tenants."""

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg

from tenancy import identifiers
from tenancy.errors import (
    DatabaseSetupError,
    InvalidIdentifierError,
    InvalidReportError,
    ReportExistsError,
)
from tenancy.migrate.upgrade import lock
from tenancy.provision.hooks import Step
from tenancy.provision.looking import Looking
from tenancy.reports import readers, records, views
from tenancy.reports.records import Report


class Reporting(Looking):
    """What an operator asks all tenants at once."""

    async def create_report(
        self,
        name: str,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        reader: str | None = None,
    ) -> Report:
        """Make the view ``tenancy_reports.<name>`` over the *table* of every tenant.

        Its first columns are the tenant's slug and id. Nobody but *reader* may read it.

        Args:
            name: of the view.
            table: in each tenant's schema; a tenant without one has no rows in the report.
            columns: to show, in order; None: all that any tenant has.
            reader: a role; None: TENANCY_REPORTS_ROLE.

        Raises:
            InvalidReportError: the name, the table, a column or the reader cannot be used.
            ReportExistsError: there is one of that name.
            ReportTooLargeError: the server has no room for the locks of a query.
            ReportInUseError: a table is being changed.
            DatabaseSetupError: the login lacks a right; says which to grant.
        """
        who = reader or self.settings.reports_role
        if who is None:
            raise InvalidReportError("nobody could read it: name a reader, or TENANCY_REPORTS_ROLE")
        now = datetime.now(UTC)
        chosen = None if columns is None else tuple(columns)
        report = Report(_checked(name), table, chosen, who, 0, None, None, now, now)
        detail = {"report": name, "table": table, "columns": chosen, "reader": who}
        async with self.step(Step.CREATE_REPORT, "", detail=detail):
            await readers.refuse_unfit(self._conn, who, self._login)
            if not await records.add(self._conn, report):
                raise ReportExistsError(f"there is a report {name!r}: drop it, or choose a name")
            return await views.create(self._conn, report)

    async def reports(self) -> tuple[Report, ...]:
        """Return all reports, by name."""
        async with self._readable():
            try:
                return await records.every(self._conn)
            except asyncpg.UndefinedTableError as error:
                raise DatabaseSetupError(
                    "there is no list of reports yet: run `python -m tenancy.migrate`"
                ) from error

    async def drop_report(self, name: str) -> None:
        """Drop the report *name*; no tenant's rows are touched.

        Raises:
            UnknownReportError: there is none.
            ReportInUseError: somebody reads it.
            ReportDependedOnError: another view depends on it.
        """
        async with self.step(Step.DROP_REPORT, "", detail={"report": name}):
            await views.drop(self._conn, await records.held(self._conn, name))

    async def refresh_reports(self, names: Sequence[str] = ()) -> tuple[Report, ...]:
        """Let reports read the tenants and columns that there are; return those that changed.

        One whose tables a migration is changing stays aside until that has ended.

        Args:
            names: of the reports; by default all.

        Raises:
            UnknownReportError: there is no such report.
            ReportTooLargeError, ReportInUseError: as `create_report`; those before it are done.
            ReportDependedOnError: another view depends on columns that it would have no more.
        """
        chosen = tuple(names) or tuple(report.name for report in await self.reports())
        changed = [
            name for name in chosen if await views.refresh(self._conn, name, _migrations_run)
        ]
        return tuple(report for report in await self.reports() if report.name in changed)


async def _migrations_run(conn: asyncpg.Connection) -> bool:
    return await lock.holder_process(conn, lock.RUN) is not None


def _checked(name: str) -> str:
    try:
        return identifiers.identifier(name)
    except InvalidIdentifierError as error:
        raise InvalidReportError(f"a report cannot be called so: {error}") from error
