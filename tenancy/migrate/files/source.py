"""One migration file's text: its statements, and the place of anything in it."""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tenancy.errors import MigrationFileError
from tenancy.migrate.files.splitter import Statement, Token, line_column, split, tokens

_KEPT_TOKENS = 4  # texts; a file's tokens take some hundred times the memory of its text
_INK = re.compile(r"[^\n]")

Span = tuple[int, int]


@dataclass(frozen=True)
class Source:
    """What of a file is run, each character at the place it has in the file.

    Cut into tokens and statements when somebody asks, because most files are never run again.

    Attributes:
        label: ``<stage>/<file name>``; tells nothing of the machine it is on.
        text: the file's, with uniform line ends; what is not run is blank.
        blocks: spans of *text* whose statements are one, because they are one transaction of a
            file that is not.
        sql: false for Python, which has neither tokens nor statements.
    """

    label: str
    text: str = field(repr=False)
    blocks: tuple[Span, ...] = field(default=(), repr=False)
    sql: bool = True

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens of an SQL text; joined, they are the text."""
        return _tokens(self.text) if self.sql else ()

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """What is sent to the server, one after the other."""
        return tuple(self._joined(split(self.tokens)))

    def place(self, offset: int) -> str:
        """Return ``<label>:<line>:<column>`` of *offset*."""
        line, column = line_column(self.text, offset)
        return f"{self.label}:{line}:{column}"

    def refusal(self, offset: int, reason: str) -> MigrationFileError:
        """Return the error which refuses the file for what stands at *offset*."""
        return MigrationFileError(f"{self.place(offset)}: {reason}")

    def without(self, spans: Iterable[Span]) -> "Source":
        """Return this source with *spans* blank; everything else stays where it is."""
        text, end, pieces = self.text, 0, list[str]()
        for start, stop in sorted(spans):
            pieces += [text[end:start], _INK.sub(" ", text[max(start, end) : stop])]
            end = max(end, stop)
        if not pieces:
            return self
        return Source(self.label, "".join([*pieces, text[end:]]), self.blocks, self.sql)

    def _joined(self, statements: Iterable[Statement]) -> Iterator[Statement]:
        """Yield *statements*, those of a block as one."""
        blocks, run = list(self.blocks), list[Statement]()
        for statement in statements:
            while blocks and blocks[0][1] <= statement.start:
                yield from self._block(run)
                del blocks[0]
            if blocks and blocks[0][0] <= statement.start:
                run.append(statement)
            else:
                yield statement
        yield from self._block(run)

    def _block(self, run: list[Statement]) -> Iterator[Statement]:
        if run:
            start, last = run[0].start, run[-1]
            text = self.text[start : last.start + len(last.text)]
            # So that nobody takes it for its first statement.
            words = "BEGIN " + " ".join(statement.words for statement in run)
            yield Statement(text, start, words)
        run.clear()


@functools.lru_cache(_KEPT_TOKENS)
def _tokens(text: str) -> tuple[Token, ...]:
    return tuple(tokens(text))
