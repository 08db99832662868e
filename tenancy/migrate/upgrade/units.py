"""The statements of a file that is no single transaction, and what each one means for it; pure."""

import hashlib
import re
from dataclasses import dataclass
from enum import Enum, auto

from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Kind, Statement, Token, split, tokens


class Run(Enum):
    """How a statement is run."""

    SETTING = auto()  # of the session: each session that runs the file needs it
    INSIDE = auto()  # in a transaction with its row in the ledger: never in doubt
    OUTSIDE = auto()  # the server takes it in no transaction


class Means(Enum):
    """What can be learnt of a statement whose end nobody has seen."""

    BUILD = auto()  # CREATE INDEX CONCURRENTLY
    DROP = auto()  # DROP INDEX CONCURRENTLY
    REBUILD = auto()  # REINDEX CONCURRENTLY
    DETACH = auto()  # ALTER TABLE ... DETACH PARTITION ... CONCURRENTLY
    REPEATABLE = auto()  # the second time does what one would have done
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Unit:
    """One statement, or one BEGIN ... COMMIT, as the ledger counts it.

    Attributes:
        number: from 1.
        parts: what is run: the statement, or those between BEGIN and COMMIT.
        names: of index and table (BUILD), index (DROP), table and partition (DETACH), each with
            its schema where it has one; an index without a name is empty.
    """

    number: int
    statement: Statement
    parts: tuple[Statement, ...]
    way: Run
    means: Means
    names: tuple[tuple[str, ...], ...] = ()

    @property
    def digest(self) -> str:
        """sha256 of its text."""
        return hashlib.sha256(self.statement.text.encode()).hexdigest()

    @property
    def concurrent(self) -> bool:
        """Whether it waits for others by its nature."""
        return self.means in {Means.BUILD, Means.DROP, Means.REBUILD, Means.DETACH}


_SETTING = re.compile(r"(SET|RESET)\b(?! (LOCAL|CONSTRAINTS|TRANSACTION)\b)")
_BLOCK = re.compile(r"(BEGIN|START TRANSACTION)\b")
_CONTROL = re.compile(r"(BEGIN|START TRANSACTION|COMMIT|END)\b")
_MEANS = tuple(
    (re.compile(pattern, re.DOTALL), means)
    for pattern, means in (
        (r"CREATE (UNIQUE )?INDEX CONCURRENTLY\b", Means.BUILD),
        (r"DROP INDEX CONCURRENTLY\b", Means.DROP),
        (r"REINDEX .*\bCONCURRENTLY\b", Means.REBUILD),
        (r"ALTER TABLE .* DETACH PARTITION .*\bCONCURRENTLY$", Means.DETACH),
        (r"(VACUUM|ANALYZE|CLUSTER|REINDEX|ALTER SYSTEM|CHECKPOINT)\b", Means.REPEATABLE),
        (r"CREATE .*\bIF NOT EXISTS\b", Means.REPEATABLE),
        (r"DROP .*\bIF EXISTS\b", Means.REPEATABLE),
    )
)
_ALWAYS_OUTSIDE = re.compile(r"(VACUUM|REINDEX .*\bCONCURRENTLY)\b", re.DOTALL)


def cut(source: Source) -> tuple[Unit, ...]:
    """Return the statements of *source* in order."""
    return tuple(
        _unit(number, statement) for number, statement in enumerate(source.statements, start=1)
    )


def _unit(number: int, statement: Statement) -> Unit:
    words = statement.words
    if _BLOCK.match(words):
        return Unit(number, statement, _within(statement), Run.INSIDE, Means.UNKNOWN)
    means = next((means for pattern, means in _MEANS if pattern.match(words)), Means.UNKNOWN)
    unit = Unit(number, statement, (statement,), Run.INSIDE, means, _names(means, statement))
    if _SETTING.match(words):
        return Unit(number, statement, (statement,), Run.SETTING, Means.REPEATABLE)
    if unit.concurrent or _ALWAYS_OUTSIDE.match(words):
        return Unit(number, statement, (statement,), Run.OUTSIDE, means, unit.names)
    return unit


def _within(statement: Statement) -> tuple[Statement, ...]:
    """Return the statements of a block, with their places in the file."""
    return tuple(
        Statement(one.text, statement.start + one.start, one.words)
        for one in split(tokens(statement.text))
        if not _CONTROL.match(one.words)
    )


def _names(means: Means, statement: Statement) -> tuple[tuple[str, ...], ...]:
    found = [token for token in tokens(statement.text) if not token.silent]
    words = [token.word for token in found]
    if means is Means.BUILD:
        at = words.index("CONCURRENTLY") + 1
        at += 3 if words[at : at + 3] == ["IF", "NOT", "EXISTS"] else 0
        on = words.index("ON", at)
        table = on + 1 + (words[on + 1] == "ONLY")
        return _name(found[at:on]), _name(found[table:])
    if means is Means.DROP:
        at = words.index("CONCURRENTLY") + 1
        at += 2 if words[at : at + 2] == ["IF", "EXISTS"] else 0
        return (_name(found[at:]),)
    if means is Means.DETACH:
        at = 2 + 2 * (words[2:4] == ["IF", "EXISTS"])
        at += words[at] == "ONLY"
        return _name(found[at:]), _name(found[words.index("PARTITION", at) + 1 :])
    return ()


def _name(found: list[Token]) -> tuple[str, ...]:
    """Return the parts of the name that *found* begins with."""
    parts: list[str] = []
    for token, following in zip(found, [*found[1:], None], strict=False):
        if token.kind is Kind.WORD:
            parts.append(token.text.lower())
        elif token.kind is Kind.QUOTED_NAME:
            parts.append(token.text[1:-1].replace('""', '"'))
        if token.text != "." and (following is None or following.text != "."):
            break
    return tuple(parts)
