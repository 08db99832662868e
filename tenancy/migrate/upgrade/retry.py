"""Which failures may be gone the next time, and how often to try; pure."""

import asyncpg

from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.checkpoints import AlreadyAppliedError
from tenancy.migrate.upgrade.script import MigrationFailedError, NeedsDecisionError
from tenancy.migrate.upgrade.session import is_lost

CONTENTION_ATTEMPTS = 8  # at 2 s of lock_timeout each, about half a minute
LOST_ATTEMPTS = 3  # few: a file that brings the server down would do so each time

LOCK_TIMEOUT = "55P03"
_CONTENTION = {LOCK_TIMEOUT, "40P01", "40001"}  # and deadlock, serialization
_IN_USE = "55006"
_OWN_USE = "CheckTableNotInUse"  # tablecmds.c: by the file itself, which it would be again


def attempts(error: Exception, migration: Migration | None) -> int:
    """Return how often to try in all where *error* ended the last attempt; 0: not again."""
    cause = error.__cause__ if isinstance(error, MigrationFailedError) else error
    if cause is None or isinstance(error, NeedsDecisionError):
        return 0
    if is_lost(cause) or isinstance(cause, AlreadyAppliedError):
        return LOST_ATTEMPTS
    if not is_contention(cause):
        return 0
    asked = migration.directives.retries if migration else None
    return CONTENTION_ATTEMPTS if asked is None else asked


def is_contention(error: BaseException) -> bool:
    """Whether *error* is of others who are at the same, and go on."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    if error.sqlstate == _IN_USE:
        return getattr(error, "server_source_function", None) != _OWN_USE
    # Two at once on one catalog row; the server's own words, in no other language (elog).
    torn = error.sqlstate == "XX000" and "tuple concurrently" in str(error.args[0])
    doubled = isinstance(error, asyncpg.UniqueViolationError) and error.schema_name == "pg_catalog"
    return torn or doubled or error.sqlstate in _CONTENTION
