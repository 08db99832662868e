"""An SQL file's text into what goes up and what goes down, each ready to run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tenancy.errors import MigrationFileError
from tenancy.migrate.files import blocks, home, idle, markers, rules
from tenancy.migrate.files.blocks import Blocks
from tenancy.migrate.files.directives import Directives, directives
from tenancy.migrate.files.markers import Section
from tenancy.migrate.files.reading import Reading
from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Statement

_SAY_UP = {"migrate", "goose", "sql-migrate"}
_UNTRANSACTED = {
    "goose": "-- +goose NO TRANSACTION",
    "sql-migrate": "-- +migrate Up notransaction",
    "tern": "---- tern: disable-tx ----",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One direction of a file: its text, and how it asks to be run."""

    source: Source
    directives: Directives


def up(source: Source, reading: Reading, *, free: bool) -> Part:
    """Return what goes up of an SQL file.

    Args:
        source: its text.
        reading: where it will run.
        free: its tool begins no transaction for it (golang-migrate), so that a text which says
            where its transactions begin and end, or holds what cannot be in one, is run as it is.

    Raises:
        MigrationFileError: it is refused, or a marker is.
    """
    found = markers.sections(source)
    return _part(source, found.up, found.tool, reading, free=free)


def down(source: Source, reading: Reading, *, free: bool) -> Part | None:
    """Return what goes down of an SQL file; None: nothing does.

    Raises:
        MigrationFileError: as `up`.
    """
    found = markers.sections(source)
    if found.down is None:
        return None
    return _part(source, found.down, found.tool, reading, free=free)


def only_down(source: Source, reading: Reading) -> Part:
    """Return all of a file that goes down and is on its own (``.down.sql``).

    Raises:
        MigrationFileError: as `up`.
    """
    found = markers.sections(source)
    section = found.down or found.up
    goes_up = found.down is None and section.marked and found.tool in _SAY_UP
    if goes_up or source.without([section.span]).statements:
        raise source.refusal(section.span[0], "this file goes down, by its name: all of it")
    return _part(source, section, found.tool, reading, free=True)


def _part(
    source: Source, section: Section, tool: str | None, reading: Reading, *, free: bool
) -> Part:
    start, end = section.span
    if (start, end) != (0, len(source.text)):
        source = source.without([(0, start), (end, len(source.text))])
    source = source.without(idle.commands(source))
    rules.readable(source)
    if reading.tenant and reading.own:
        source = home.moved(source, reading.own)
    source = source.without(map(_span, idle.statements(source, reading)))
    found = blocks.read(source.statements)
    transactional = _is_transactional(source, found, section.options, tool, free=free)
    if found.fault is None:
        source = source.without(map(_span, found.pairs))
    rules.runnable(source, reading)
    if not transactional and found.spans:
        source = Source(source.label, source.text, found.spans)
    return Part(source, directives({**section.options, "transactional": transactional}))


def _is_transactional(
    source: Source, found: Blocks, given: dict[str, Any], tool: str | None, *, free: bool
) -> bool:
    asked = given.get("transactional")
    outside = [one for one in source.statements if rules.is_outside(one)]
    within = [one for one in outside if any(a <= one.start < b for a, b in found.spans)]
    if within:
        raise _refused(
            source, within[0], "cannot run inside a transaction: take it out of this one"
        )
    if asked is not None:
        if asked and outside:
            raise _refused(source, outside[0], "cannot run inside a transaction, as it is to")
        if asked and not found.whole:
            raise source.refusal(found.pairs[0].start, "a transaction for a part of the file alone")
        return bool(asked)
    if not outside and found.whole:
        return True
    if free or (not found.pairs and _only(outside, source.statements)):
        return False
    words = _UNTRANSACTED.get(tool or "", "-- migrate:up transaction:false")
    if outside:
        reason = (
            "cannot run inside a transaction, and the rest can: give it a file of its own, or "
            f"begin with `{words}` and all of the file runs without"
        )
        raise _refused(source, outside[0], reason)
    raise source.refusal(
        found.pairs[0].start,
        "a file is one transaction: remove each BEGIN and COMMIT, or begin with "
        f"`{words}` and each pair is one",
    )


def _only(outside: Sequence[Statement], statements: Sequence[Statement]) -> bool:
    return len(outside) == len(statements)


def _refused(source: Source, statement: Statement, reason: str) -> MigrationFileError:
    return source.refusal(statement.start, f"{rules.head(statement)}: {reason}")


def _span(statement: Statement) -> tuple[int, int]:
    return statement.start, statement.start + len(statement.text)
