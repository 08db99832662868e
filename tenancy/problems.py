"""From an exception to the problem document a client may see (RFC 9457). Pure.

Nothing of the exception's own words leaves the process.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

import asyncpg

from tenancy.errors import TenancyError

MEDIA_TYPE = "application/problem+json"

# Codes of a websocket's end (RFC 6455, section 7.4.1, and IANA's registry beside it).
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer: its status, its stable code, its words, and when to come back."""

    status: int
    code: str
    title: str
    retry_after_seconds: int | None = None
    errors: Sequence[Mapping[str, str]] = ()
    more_headers: Sequence[tuple[str, str]] = ()

    def naming(self, errors: Sequence[Mapping[str, str]]) -> "Problem":
        """Return the same answer with what is wrong in particular."""
        return replace(self, errors=tuple(errors))

    @property
    def body(self) -> bytes:
        """The document, as JSON."""
        members = {"title": self.title, "status": self.status, "code": self.code}
        named = {"errors": list(self.errors)} if self.errors else {}
        return json.dumps({"type": "about:blank", **members, **named}).encode()

    @property
    def close_code(self) -> int:
        """The code that an open websocket is closed with; its reason is our own code."""
        if self.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return POLICY_VIOLATION
        return INTERNAL_ERROR if self.retry_after_seconds is None else TRY_AGAIN_LATER

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers that go with the document."""
        headers = [("content-type", MEDIA_TYPE), ("cache-control", "no-store")]
        if self.retry_after_seconds is not None:
            headers.append(("retry-after", str(self.retry_after_seconds)))
        return [*headers, *self.more_headers]


_CONFLICT = Problem(503, "serialization_conflict", "Try again: another change came first.", 0)
_SHAPE = Problem(503, "schema_changed", "Try again: the tables have just been changed.", 0)
_TIMEOUT = Problem(504, "statement_timeout", "The database took too long.")
_BUSY = Problem(503, "database_busy", "The service is busy.", 1)
_LOST = Problem(503, "database_unavailable", "The service is temporarily unavailable.", 1)
_TEXT = Problem(422, "unstorable_text", "A text holds a character that cannot be stored.")

_BY_DATABASE_ERROR: dict[type[Exception], Problem] = {
    asyncpg.SerializationError: _CONFLICT,
    asyncpg.DeadlockDetectedError: _CONFLICT,
    asyncpg.InvalidCachedStatementError: _SHAPE,
    asyncpg.OutdatedSchemaCacheError: _SHAPE,
    asyncpg.QueryCanceledError: _TIMEOUT,
    TimeoutError: _TIMEOUT,
    asyncpg.LockNotAvailableError: _BUSY,
    asyncpg.IdleInTransactionSessionTimeoutError: _BUSY,
    asyncpg.CharacterNotInRepertoireError: _TEXT,
    asyncpg.UntranslatableCharacterError: _TEXT,
    asyncpg.PostgresConnectionError: _LOST,
    asyncpg.AdminShutdownError: _LOST,
    asyncpg.CrashShutdownError: _LOST,
    asyncpg.CannotConnectNowError: _LOST,
    asyncpg.TooManyConnectionsError: _LOST,
}


def problem(error: BaseException) -> Problem:
    """Return the answer to a request that ended with *error*; what is not known is a plain 500."""
    if isinstance(error, TenancyError):
        return Problem(
            error.status,
            error.code,
            error.title,
            error.retry_after_seconds,
            more_headers=error.headers,
        )
    if isinstance(error, asyncpg.DataError) and isinstance(error.__cause__, UnicodeEncodeError):
        return _TEXT  # a lone surrogate, which UTF-8 cannot hold
    for kind in type(error).__mro__:
        if kind in _BY_DATABASE_ERROR:
            return _BY_DATABASE_ERROR[kind]
    return Problem(500, TenancyError.code, TenancyError.title)


# Written out: HTTPStatus names some of them differently from one Python to the next.
_BY_STATUS = {
    400: ("bad_request", "The request could not be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    408: ("request_timeout", "The request took too long to arrive."),
    413: ("body_too_large", "The body is too large."),
    415: ("unsupported_media_type", "The body is not of a type that is understood here."),
    422: ("invalid_request", "The request does not fit its description in /openapi.json."),
    500: (TenancyError.code, TenancyError.title),
}


def of_status(status: int) -> Problem:
    """Return the bare document of an HTTP status, for a framework's own refusals."""
    code, title = _BY_STATUS.get(status, (f"http_{status}", "The request was refused."))
    return Problem(status, code, title)
