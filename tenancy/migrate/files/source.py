"""One migration file's text: its statements, and the place of anything in it."""

from dataclasses import dataclass, field

from tenancy.errors import MigrationFileError
from tenancy.migrate.files.splitter import Statement, Token, line_column, split, tokens


@dataclass(frozen=True, slots=True)
class Source:
    """A file's text with its line ends made uniform.

    Attributes:
        label: ``<stage>/<file name>``; tells nothing of the machine it is on.
    """

    label: str
    text: str = field(repr=False)
    tokens: tuple[Token, ...] = field(init=False, repr=False, compare=False)
    statements: tuple[Statement, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(tokens(self.text)))
        object.__setattr__(self, "statements", split(self.tokens))

    def place(self, offset: int) -> str:
        """Return ``<label>:<line>:<column>`` of *offset*."""
        line, column = line_column(self.text, offset)
        return f"{self.label}:{line}:{column}"

    def refusal(self, offset: int, reason: str) -> MigrationFileError:
        """Return the error which refuses the file for what stands at *offset*."""
        return MigrationFileError(f"{self.place(offset)}: {reason}")
