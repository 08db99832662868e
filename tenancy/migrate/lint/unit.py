"""One file as rules see it: its pieces, and what the files before it have made; pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tenancy.migrate.files.model import Files, Migration, Stage
from tenancy.migrate.files.source import Source
from tenancy.migrate.files.splitter import Token
from tenancy.migrate.lint import names, pieces
from tenancy.migrate.lint.opening import opened
from tenancy.migrate.lint.pieces import NAMING, Piece, Place

_TABLE = re.compile(r"CREATE (UNLOGGED |FOREIGN )?TABLE\b|CREATE MATERIALIZED VIEW\b")
_TEMPORARY = re.compile(r"CREATE (GLOBAL |LOCAL )?TEMP(ORARY)? (TABLE|SEQUENCE|VIEW)\b")
_BEFORE_NAME = {"TABLE", "VIEW", "SEQUENCE", "EXISTS", "ONLY"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a file is read against.

    Attributes:
        shared_schema: its name in this deployment.
        shared_tables: names that the shared stage's files make.
        tenant_tables: names that the tenant stage's files make.
    """

    shared_schema: str = ""
    shared_tables: frozenset[str] = frozenset()
    tenant_tables: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Unit:
    """One file's SQL.

    Attributes:
        transactional: whether all its statements are one transaction.
        new: tables that the file makes itself: nobody uses them before it is committed.
    """

    source: Source
    stage: Stage
    transactional: bool = True
    around: Surroundings = Surroundings()
    pieces: tuple[Piece, ...] = field(init=False, repr=False)
    new: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pieces", pieces.read(self.source))
        object.__setattr__(self, "new", frozenset(made(self.pieces)))

    @property
    def running(self) -> Iterator[Piece]:
        """The pieces that run with the file: all but those of functions."""
        return (piece for piece in self.pieces if piece.place is not Place.ROUTINE)

    @property
    def statements(self) -> Iterator[Piece]:
        """The file's statements themselves."""
        return (piece for piece in self.pieces if piece.place is Place.FILE)


def surroundings(files: Files, shared_schema: str) -> Surroundings:
    """Return what all *files* together make."""
    return Surroundings(shared_schema, _tables(files.shared), _tables(files.tenant))


def made(some: Iterable[Piece]) -> Iterator[str]:
    """Yield the names of the tables that *some* pieces make, temporary ones too."""
    for piece in some:
        if _TABLE.match(piece.words) or _TEMPORARY.match(piece.words):
            token = target(piece)
            if token is not None:
                yield pieces.name(token)


def target(piece: Piece) -> Token | None:
    """Return the name of the relation that a CREATE, ALTER or DROP is about, without its schema."""
    seen = False
    for at, token in enumerate(piece.tokens):
        if token.kind not in NAMING:
            continue
        keyword = token.word in _BEFORE_NAME | {"IF", "NOT"}
        if seen and not keyword:
            return names.last_part(piece.tokens, at)
        seen = seen or token.word in _BEFORE_NAME
    return None


def is_temporary(piece: Piece) -> bool:
    """Whether it makes something temporary."""
    return _TEMPORARY.match(piece.words) is not None


def _tables(migrations: Iterable[Migration]) -> frozenset[str]:
    some = (opened(one).source for one in migrations if not one.path)
    every = (piece for source in some for piece in pieces.read(source))
    return frozenset(made(p for p in every if not is_temporary(p)))
