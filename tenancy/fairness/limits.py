"""What one tenant may use, less than others: read from its row in the registry."""

import json
import logging
from dataclasses import dataclass

from tenancy.errors import InvalidLimitError

_log = logging.getLogger(__name__)

STATEMENT_TIMEOUT = "statement_timeout_seconds"
MAX_CONNECTIONS = "max_connections"

MIN_STATEMENT_TIMEOUT_SECONDS = 0.001  # statement_timeout counts milliseconds, and 0 is none
MAX_STATEMENT_TIMEOUT_SECONDS = 86_400.0
MOST_CONNECTIONS = 1000

# Of `python -m tenancy tenants limit`.
_OPTIONS = {
    STATEMENT_TIMEOUT: f"{STATEMENT_TIMEOUT} (--statement-timeout)",
    MAX_CONNECTIONS: f"{MAX_CONNECTIONS} (--max-connections)",
}

_SECONDS = f"from {MIN_STATEMENT_TIMEOUT_SECONDS:g} to {MAX_STATEMENT_TIMEOUT_SECONDS:g}"
_CONNECTIONS = f"a whole number from 1 to {MOST_CONNECTIONS}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one tenant; None: the settings' own. They lower those, and never raise them.

    Attributes:
        statement_timeout_seconds: how long one statement may run.
        max_connections: how many the tenant may hold at once in each process.
    """

    statement_timeout_seconds: float | None = None
    max_connections: int | None = None

    def timeout_below(self, seconds: float) -> float | None:
        """Return the statement timeout if it lowers one of *seconds*."""
        own = self.statement_timeout_seconds
        return own if own is not None and own < seconds else None


NONE = Limits()


def read(text: str | None, whose: str) -> Limits:
    """Return the limits in *text*, the JSON of a registry row's ``settings``.

    A value that makes no sense is logged, and is as good as none: a slip in one tenant's row must
    not take the tenant down.

    Args:
        text: one JSON object, other members of which are not ours.
        whose: the tenant's slug, for the log.
    """
    if text is None or text == "{}":
        return NONE
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        _log.error("the registry's settings of tenant %r are no JSON object", whose)
        return NONE
    seconds, connections = members.get(STATEMENT_TIMEOUT), members.get(MAX_CONNECTIONS)
    if seconds is not None and not is_statement_timeout(seconds):
        _complain(STATEMENT_TIMEOUT, whose, f"a number of seconds {_SECONDS}")
        seconds = None
    if connections is not None and not is_max_connections(connections):
        _complain(MAX_CONNECTIONS, whose, _CONNECTIONS)
        connections = None
    return Limits(seconds, connections)


def is_statement_timeout(value: object) -> bool:
    """Whether *value* is a number of seconds that a statement may be given."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return MIN_STATEMENT_TIMEOUT_SECONDS <= value <= MAX_STATEMENT_TIMEOUT_SECONDS


def is_max_connections(value: object) -> bool:
    """Whether *value* is a number of connections that a tenant may be given."""
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return 1 <= value <= MOST_CONNECTIONS


def check(name: str, value: float | None, most_seconds: float) -> None:
    """Refuse a limit that makes no sense, or that would raise what the settings allow to all.

    Args:
        name: `STATEMENT_TIMEOUT` or `MAX_CONNECTIONS`.
        value: of the limit; None: none of the tenant's own.
        most_seconds: the statement timeout of all tenants.

    Raises:
        InvalidLimitError: names the limit, and what it may be.
    """
    if name not in (STATEMENT_TIMEOUT, MAX_CONNECTIONS):
        raise InvalidLimitError(f"{name!r} is no limit of a tenant")
    if value is None:
        return
    if name == MAX_CONNECTIONS and not is_max_connections(value):
        raise InvalidLimitError(f"{_OPTIONS[name]}: {value:g} is not {_CONNECTIONS}")
    if name == STATEMENT_TIMEOUT and not (is_statement_timeout(value) and value <= most_seconds):
        raise InvalidLimitError(
            f"{_OPTIONS[name]}: {value:g} is not from {MIN_STATEMENT_TIMEOUT_SECONDS:g} to "
            f"{most_seconds:g}, "
            "which is TENANCY_STATEMENT_TIMEOUT_SECONDS: a tenant's own can only be lower"
        )


def _complain(name: str, whose: str, wanted: str) -> None:
    _log.error(
        "the registry's %s of tenant %r is ignored: it must be %s; "
        "set it by `python -m tenancy tenants limit`",
        name,
        whose,
        wanted,
    )
