"""A tenant as it is taken along, wherever it comes from."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tenancy.migrate.shape.description import Object
from tenancy.migrate.shape.libpq import Section
from tenancy.portability.manifest import Portrait, Table


class Rows(Protocol):
    """The rows of one table, as COPY writes them in its text format."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield all of them, in pieces of any size."""
        ...

    async def count(self) -> int:
        """Return how many they were, once all pieces are taken."""
        ...


class Image(Protocol):
    """One tenant at one moment.

    Attributes:
        portrait: what is known of it.
    """

    @property
    def portrait(self) -> Portrait: ...  # noqa: D102 - as the attribute

    async def structure(self, section: Section) -> list[str]:
        """Return the statements of *section*, which make the objects in any schema."""
        ...

    async def rights(self) -> list[str]:
        """Return the statements that say who may do what there, see `grants`."""
        ...

    async def objects(self) -> tuple[Object, ...]:
        """Return what that makes, object by object, as `likeness.objects` tells it."""
        ...

    def rows(self, table: Table) -> AbstractAsyncContextManager[Rows]:
        """Open the rows of *table*; one at a time."""
        ...
