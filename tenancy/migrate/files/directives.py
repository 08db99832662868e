"""How a file asks to be run: the options of its directive, ``key:value`` in dbmate's manner."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tenancy.errors import MigrationFileError

_OPTION = re.compile(r"(?P<key>[A-Za-z_]+):(?P<value>\S+)")
_DURATION = re.compile(r"(?P<count>[1-9][0-9]{0,9})(?P<unit>ms|s|min|h|d)")

_MILLISECONDS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_MOST_MILLISECONDS = 2**31 - 1  # PostgreSQL keeps a timeout in a signed integer
_MOST_RETRIES = 100

Refusal = Callable[[int, str], MigrationFileError]


@dataclass(frozen=True, slots=True)
class Directives:
    """How one part of a file is run.

    Attributes:
        lock_timeout: milliseconds a statement waits for a lock. Short, because every query of the
            tenant that comes after a waiting ALTER waits behind it.
            None: 2 seconds, and no limit for what is built CONCURRENTLY.
        statement_timeout: milliseconds each statement may take. None: ten minutes, and no limit for
            what is built CONCURRENTLY.
        transactional: whether the part is one transaction; else each statement is its own.
        retries: attempts in all while others hold locks; None: as many as the migrator thinks fit.
        idempotent: whether a statement of doubtful outcome may simply be run again.
        order_any: whether it may be applied after a file of a higher version.
    """

    lock_timeout: int | None = None
    statement_timeout: int | None = None
    transactional: bool = True
    retries: int | None = None
    idempotent: bool = False
    order_any: bool = False


class Word(NamedTuple):
    """A word behind a directive, at its offset in the file."""

    text: str
    start: int


_KEYS = ("transaction", "lock_timeout", "statement_timeout", "retries", "idempotent", "order")


def options(words: Iterable[Word], refusal: Refusal) -> dict[str, Any]:
    """Return the fields of `Directives` that *words* set.

    Raises:
        MigrationFileError: an option this version does not follow: ignoring it would run the file
            in another way than it was written for.
    """
    found: dict[str, Any] = {}
    for word in words:
        option = _OPTION.fullmatch(word.text)
        key = option["key"] if option else ""
        if option is None or key not in _KEYS:
            known = ", ".join(_KEYS)
            raise refusal(word.start, f"option {word.text!r} is not known; the options are {known}")
        field, value = _VALUES[key](option["value"])
        if value is None:
            raise refusal(word.start, f"{word.text!r}: {_WORDS[key]}")
        if field in found:
            raise refusal(word.start, f"option {key!r} is given twice")
        found[field] = value
    return found


def directives(found: dict[str, Any]) -> Directives:
    """Return how a part with the options *found* is run."""
    return replace(Directives(), **found)


def _timeout(key: str) -> Callable[[str], tuple[str, Any]]:
    def read(value: str) -> tuple[str, Any]:
        match = _DURATION.fullmatch(value)
        duration = int(match["count"]) * _MILLISECONDS[match["unit"]] if match else 0
        return key, duration if 0 < duration <= _MOST_MILLISECONDS else None

    return read


def _retries(value: str) -> tuple[str, Any]:
    number = int(value) if re.fullmatch("[0-9]{1,9}", value) else 0
    return "retries", number if 0 < number <= _MOST_RETRIES else None


_DURATION_WORDS = "is no duration: write 500ms, 2s, 10min, 1h or 1d, and at most 24d"
_VALUES: dict[str, Callable[[str], tuple[str, Any]]] = {
    "transaction": lambda value: ("transactional", {"true": True, "false": False}.get(value)),
    "lock_timeout": _timeout("lock_timeout"),
    "statement_timeout": _timeout("statement_timeout"),
    "retries": _retries,
    "idempotent": lambda value: ("idempotent", {"true": True, "false": False}.get(value)),
    "order": lambda value: ("order_any", True if value == "any" else None),
}
_WORDS = {
    "transaction": "write transaction:true or transaction:false",
    "lock_timeout": _DURATION_WORDS,
    "statement_timeout": _DURATION_WORDS,
    "retries": f"write how many attempts to make in all, 1 to {_MOST_RETRIES}",
    "idempotent": "write idempotent:true or idempotent:false",
    "order": "write order:any, or leave it out",
}
