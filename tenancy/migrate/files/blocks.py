"""BEGIN and COMMIT in a file: which of them say no more than the migrator does anyway."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tenancy.migrate.files.source import Span
from tenancy.migrate.files.splitter import Statement

# Any other level than the migrator's own would be another transaction.
_BEGIN = re.compile(
    r"(BEGIN( WORK| TRANSACTION)?|START TRANSACTION)( ISOLATION LEVEL READ COMMITTED| READ WRITE)*"
)
_COMMIT = re.compile(r"(COMMIT|END)( WORK| TRANSACTION)?( AND NO CHAIN)?")


@dataclass(frozen=True, slots=True)
class Blocks:
    """What the transaction control of a part comes to.

    Attributes:
        pairs: the statements BEGIN and COMMIT of each block, in their order.
        spans: from each block's first statement to its last; an empty block has none.
        outside: how many statements stand in no block.
        fault: the first statement of transaction control that pairs with none.
    """

    pairs: tuple[Statement, ...] = ()
    spans: tuple[Span, ...] = ()
    outside: int = 0
    fault: Statement | None = None

    @property
    def whole(self) -> bool:
        """Whether one transaction is all that was asked for."""
        return not self.pairs or (len(self.pairs) <= len("BC") and not self.outside)


def read(statements: Sequence[Statement]) -> Blocks:
    """Return the blocks in *statements*; with a fault, they were read up to it."""
    pairs: list[Statement] = []
    spans: list[Span] = []
    inside: list[Statement] = []
    begun: Statement | None = None
    outside = 0
    for statement in statements:
        if _BEGIN.fullmatch(statement.words):
            if begun:
                return Blocks(tuple(pairs), tuple(spans), outside, statement)
            begun = statement
        elif _COMMIT.fullmatch(statement.words):
            if not begun:
                return Blocks(tuple(pairs), tuple(spans), outside, statement)
            pairs += [begun, statement]
            if inside:
                spans.append((inside[0].start, inside[-1].start + len(inside[-1].text)))
            begun, inside = None, []
        elif begun:
            inside.append(statement)
        else:
            outside += 1
    return Blocks(tuple(pairs), tuple(spans), outside, begun)
