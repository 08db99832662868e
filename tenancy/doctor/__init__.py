"""Looks a database over: what the isolation level needs, what is missing, what to run.

Changes nothing. Every question is a `Check`, a row of one of the tables of this package, or a
function that returns findings.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tenancy import identifiers
from tenancy.doctor import database, lint, login, pooling, registry, roles, server
from tenancy.doctor.catalogs import Patient
from tenancy.doctor.finding import By, Check, Finding, Level
from tenancy.doctor.output import lines
from tenancy.pool.connect import connect
from tenancy.settings import Settings

__all__ = ["CHECKS", "MOST", "By", "Check", "Finding", "Level", "diagnose", "lines"]

MOST = 20

CHECKS = (
    *server.CHECKS,
    *login.CHECKS,
    *database.CHECKS,
    *roles.CHECKS,
    *registry.CHECKS,
    *lint.CHECKS,
)


async def diagnose(settings: Settings, *, most: int | None = MOST) -> tuple[Finding, ...]:
    """Return what every check found in the database of *settings*, the good news too.

    Args:
        settings: with the addresses of requests and of the owner.
        most: names and cures of each finding; None: all of them.

    Raises:
        SettingsError, DatabaseUnavailableError, DatabaseSetupError: nobody could look.
    """
    async with (
        _connected(settings, as_admin=True) as admin,
        _connected(settings, as_admin=False) as requests,
    ):
        who = str(await requests.fetchval("SELECT session_user::text"))
        there = await admin.fetchval(
            "SELECT pg_catalog.to_regclass($1) IS NOT NULL", f"{identifiers.CATALOG_SCHEMA}.tenants"
        )
        sees_ready = there and await admin.fetchval(
            "SELECT coalesce(has_table_privilege(pg_catalog.to_regclass($1), 'SELECT'), false)",
            f"{identifiers.CATALOG_SCHEMA}.ready_schemas",
        )
        patient = Patient(admin, settings, who, there, most, sees_ready)
        found = [await patient.examined(check) for check in CHECKS]
        return (
            *filter(None, found),
            *await registry.behind(patient),
            *await pooling.between(patient, requests),
            *await pooling.behind_walls(patient),
        )


@asynccontextmanager
async def _connected(settings: Settings, *, as_admin: bool) -> AsyncIterator[asyncpg.Connection]:
    conn = await connect(settings, as_admin=as_admin)
    try:
        yield conn
    finally:
        await conn.close()
