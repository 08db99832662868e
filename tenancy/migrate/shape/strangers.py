"""Texts in one tenant's schema that name the schema of another; pure."""

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from tenancy.migrate.shape.description import Object

OTHER = "<another tenant's schema>"

_WORD = re.compile(r"\bt_[a-z0-9_]+\b")


def naming(objects: Iterable[Object], schemas: AbstractSet[str]) -> Iterator[Object]:
    """Yield those of *objects* in whose definition one of *schemas* is named.

    The schema's own name stands in no description. A schema called like something in every tenant's
    schema is not looked for.
    """
    everything = list(objects)
    wanted = schemas - {one.name for one in everything}
    for one in everything:
        if any(word in wanted for text in one.aspects.values() for word in _WORD.findall(text)):
            yield one


def masked(text: str, schemas: AbstractSet[str]) -> str:
    """Return *text* without the names of *schemas*."""
    return _WORD.sub(lambda match: OTHER if match[0] in schemas else match[0], text)
