"""How a file asks to be run: ``-- migrate:up [key:value ...]`` on top, in dbmate's manner."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Kind, Token

_DIRECTIVE = re.compile(r"--\s*migrate:(?P<name>\S*)(?P<options>.*)", re.IGNORECASE)
_OPTION = re.compile(r"(?P<key>[A-Za-z_]+):(?P<value>\S+)")
_DURATION = re.compile(r"(?P<count>[1-9][0-9]{0,9})(?P<unit>ms|s|min|h|d)")
_FOREIGN = {
    "goose's": re.compile(r"--\s*\+goose\b", re.IGNORECASE),
    "sql-migrate's": re.compile(r"--\s*\+migrate\b", re.IGNORECASE),
    "tern's": re.compile(r"----\s*create above\s*/\s*drop below\s*----", re.IGNORECASE),
}

_MILLISECONDS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_MOST_MILLISECONDS = 2**31 - 1  # PostgreSQL keeps a timeout in a signed integer


@dataclass(frozen=True, slots=True)
class Directives:
    """How one file is run.

    Attributes:
        lock_timeout: milliseconds a statement waits for a lock. Short, because every query of the
            tenant that comes after a waiting ALTER waits behind it.
            None: 2 seconds, and no limit for what is built CONCURRENTLY.
        statement_timeout: milliseconds each statement may take. None: ten minutes, and no limit for
            what is built CONCURRENTLY.
        transactional: whether the file is one transaction; else each statement is its own.
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


_KNOWN = ("lock_timeout", "statement_timeout")


def read(source: Source) -> Directives:
    """Return what the directive on top of *source* says; without one, the whole file is up.

    Raises:
        MigrationFileError: a directive this version does not follow: ignoring it would run the file
            in another way than it was written for.
    """
    found: Directives | None = None
    begun = False
    for token in source.tokens:
        begun = begun or not token.silent
        if token.kind is not Kind.LINE_COMMENT:
            continue
        _refuse_foreign(source, token)
        if match := _DIRECTIVE.match(token.text):
            _refuse_unless_up(source, token, match["name"])
            if begun or found is not None:
                raise source.refusal(token.start, "migrate:up may stand once, above the SQL")
            found = _options(source, token, match)
    return found or Directives()


def _refuse_foreign(source: Source, token: Token) -> None:
    for owner, marker in _FOREIGN.items():
        if marker.match(token.text):
            raise source.refusal(
                token.start,
                f"{owner} marker is not understood by this version of tenancy: "
                "leave the part that goes up, alone in its file",
            )


def _refuse_unless_up(source: Source, token: Token, name: str) -> None:
    if name.lower() == "down":
        raise source.refusal(
            token.start,
            "this version of tenancy runs no migrate:down: remove it, or undo with a new file",
        )
    if name.lower() != "up":
        raise source.refusal(token.start, f"migrate:{name} is no directive: use migrate:up")


def _options(source: Source, token: Token, match: re.Match[str]) -> Directives:
    directives = Directives()
    seen: set[str] = set()
    for offset, word in _words(match):
        at = token.start + offset
        option = _OPTION.fullmatch(word)
        key, value = (option["key"], option["value"]) if option else (word, "")
        if key == "transaction":
            raise source.refusal(
                at, "this version of tenancy runs every file in one transaction: remove the option"
            )
        if key not in _KNOWN or key in seen:
            fault = "is given twice" if key in seen else "is not known"
            raise source.refusal(
                at, f"option {word!r} {fault}; the options are {', '.join(_KNOWN)}"
            )
        seen.add(key)
        given: dict[str, Any] = {key: _milliseconds(source, at, value)}
        directives = replace(directives, **given)
    return directives


def _words(match: re.Match[str]) -> Iterator[tuple[int, str]]:
    for word in re.finditer(r"\S+", match["options"]):
        yield match.start("options") + word.start(), word.group()


def _milliseconds(source: Source, at: int, value: str) -> int:
    match = _DURATION.fullmatch(value)
    duration = int(match["count"]) * _MILLISECONDS[match["unit"]] if match else 0
    if not 0 < duration <= _MOST_MILLISECONDS:
        raise source.refusal(
            at, f"{value!r} is no duration: write 500ms, 2s, 10min, 1h or 1d, and at most 24d"
        )
    return duration
