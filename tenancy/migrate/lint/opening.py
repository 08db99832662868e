"""A file opened for reading its SQL, also where the migrator would refuse to run it."""

from collections.abc import Iterator
from dataclasses import dataclass

from tenancy.errors import MigrationFileError
from tenancy.migrate.files import markers, rules
from tenancy.migrate.files.directives import Directives
from tenancy.migrate.files.model import Language, Migration
from tenancy.migrate.files.source import Source


@dataclass(frozen=True)
class Opened:
    """One file.

    Attributes:
        source: what goes up, each character at the place it has in the file.
        whole: all of it, comments above the first marker too.
        refused: why it would not be run; empty: it would.
    """

    migration: Migration
    source: Source
    whole: Source
    directives: Directives
    refused: tuple[MigrationFileError, ...] = ()

    @property
    def label(self) -> str:
        """``<stage>/<file name>``."""
        return self.whole.label

    @property
    def is_python(self) -> bool:
        """Whether it is written in Python."""
        return self.migration.language is Language.PYTHON


def opened(migration: Migration) -> Opened:
    """Return *migration* opened; what is refused is read as far as it can be."""
    whole = migration.written.source
    try:
        up = migration.source
        source = Source(up.label, up.text, sql=up.sql)  # statements of a block one by one
        return Opened(migration, source, whole, migration.directives)
    except MigrationFileError as error:
        source = _up(whole)
        refused = {str(one): one for one in (error, *_others(migration, source))}
        return Opened(migration, source, whole, Directives(), tuple(refused.values()))


def _up(whole: Source) -> Source:
    try:
        start, end = markers.sections(whole).up.span if whole.sql else (0, len(whole.text))
    except MigrationFileError:
        return whole
    return whole.without([(0, start), (end, len(whole.text))])


def _others(migration: Migration, source: Source) -> Iterator[MigrationFileError]:
    """Yield what else would be refused, if the first were put right."""
    reading = migration.written.reading()
    for statement in source.statements:
        for fault in rules.faults(statement, reading):
            yield source.refusal(*fault)
