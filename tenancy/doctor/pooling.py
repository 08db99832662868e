"""What the login of requests finds when it connects: PostgreSQL, or a pooler."""

import asyncpg

from tenancy import walls
from tenancy.doctor.catalogs import Patient
from tenancy.doctor.finding import By, Finding, Level
from tenancy.pool import pooler
from tenancy.pool.connect import connect
from tenancy.settings import Isolation, Pooler

_WATCH = ("client_connection_check_interval", "1s")
_STALE = (
    "then RECONNECT in the pooler's console, or restart it: server connections keep what they "
    "started with"
)


async def between(patient: Patient, conn: asyncpg.Connection) -> tuple[Finding, ...]:
    """Find out what stands between requests and the server; *conn* is the login's."""
    pooled = await pooler.stands_between(conn)
    if not pooled and patient.settings.pooler is Pooler.NONE:
        return (Finding("pooler", Level.OK, "the pooler is not the one in the settings"),)
    return (
        _as_told(patient, pooled=pooled),
        await _defaults(patient, conn),
        await _reset(patient, conn),
        await _watchful(patient, conn),
    )


def _as_told(patient: Patient, *, pooled: bool) -> Finding:
    what = "the pooler is not the one in the settings"
    told = patient.settings.pooler is not Pooler.NONE
    if told is pooled:
        return Finding("pooler", Level.OK, what)
    cure = f"TENANCY_POOLER={Pooler.TRANSACTION if pooled else Pooler.NONE}"
    level, name = (Level.FAULT, "there is one") if pooled else (Level.WARNING, "there is none")
    return Finding("pooler", level, what, 1, (name,), (cure,), By.ENVIRONMENT)


async def _defaults(patient: Patient, conn: asyncpg.Connection) -> Finding:
    what = "a pooler passes no settings on, and the login has no such defaults"
    missing = await pooler.missing_defaults(conn, patient.settings)
    if not missing:
        return Finding("pooler_defaults", Level.OK, what)
    level = Level.WARNING if pooler.PROMISED.isdisjoint(missing) else Level.FAULT
    cures = await _statements(patient, missing)
    return Finding(
        "pooler_defaults", level, what, len(missing), tuple(missing), cures, By.SUPERUSER, _STALE
    )


async def _reset(patient: Patient, conn: asyncpg.Connection) -> Finding:
    what = "the pooler hands a session on as the last client left it"
    other = await connect(patient.settings, as_admin=False)
    try:
        keeps = await pooler.keeps_state(conn, other)
    finally:
        await other.close()
    if keeps is False:
        return Finding("pooler_reset", Level.OK, what)
    level, name = (
        (Level.FAULT, "it does") if keeps else (Level.WARNING, "no way to tell on a busy pooler")
    )
    cures = ("server_reset_query = DISCARD ALL", "server_reset_query_always = 1")
    return Finding(
        "pooler_reset",
        level,
        what,
        1,
        (name,),
        cures,
        By.POOLER,
        "then restart it, or RELOAD and RECONNECT: a view's own COMMIT is out of the gate's reach",
    )


async def _watchful(patient: Patient, conn: asyncpg.Connection) -> Finding:
    what = "the server goes on with a query whose pooler has hung up"
    name, value = _WATCH
    interval = await conn.fetchval(
        "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = $1", name
    )
    if interval != "0":
        return Finding("pooler_watch", Level.OK, what)
    cures = await _statements(patient, {name: value})
    return Finding("pooler_watch", Level.WARNING, what, 1, (name,), cures, By.SUPERUSER, _STALE)


async def _statements(patient: Patient, values: dict[str, str]) -> tuple[str, ...]:
    database = await patient.conn.fetchval("SELECT current_database()::text")
    return tuple(
        pooler.default_sql(patient.login, database, name, value) for name, value in values.items()
    )


async def behind_walls(patient: Patient) -> tuple[Finding, ...]:
    """Find what is open at level ``strict``; nothing is asked at the others."""
    if patient.settings.isolation is not Isolation.STRICT:
        return ()
    what = "PUBLIC may do what level strict does not bear"
    missing = await walls.missing(patient.conn, patient.settings)
    if not missing:
        return (Finding("walls", Level.OK, what),)
    first = tuple(missing[: patient.most])
    return (
        Finding(
            "walls",
            Level.FAULT,
            what,
            len(missing),
            first,
            (walls.COMMAND,),
            By.SHELL,
            "psql as a superuser",
        ),
    )
