"""The shapes of many schemas, taken over several connections side by side."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import asyncpg

from tenancy.errors import MigrationError
from tenancy.migrate.ledger import fingerprints
from tenancy.migrate.ledger.members import Member
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.shape.description import Object, describe
from tenancy.migrate.upgrade.session import Session, is_lost
from tenancy.migrate.upkeep.verdicts import Shape
from tenancy.settings import Settings

BATCH = 20  # schemas in one query
GONE = "it has no schema"
CHANGED = "it changed while it was looked at: verify it again"

Item = TypeVar("Item")


class Portrait(NamedTuple):
    """Everything in a schema, and whose it is."""

    member: Member
    objects: tuple[Object, ...]


@dataclass(slots=True)
class Census:
    """Who has which shape.

    Attributes:
        left_out: slugs of those whose shape could not be taken, and why.
        watch: called with how many more schemas have been looked at.
    """

    settings: Settings
    parallel: int
    watch: Callable[[int], None]
    taken: dict[Member, Shape] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    async def take(self, members: Sequence[Member], *, store: bool) -> None:
        """Take the shapes of *members*; with *store* they are noted in the ledger."""

        async def work(session: Session, batch: Sequence[Member]) -> None:
            await self._taken(session, batch, store=store)
            for _ in batch:
                await session.recycle()
            self.watch(len(batch))

        batches = [members[at : at + BATCH] for at in range(0, len(members), BATCH)]
        await self.each(batches, work)

    async def each(
        self, items: Sequence[Item], work: Callable[[Session, Item], Awaitable[None]]
    ) -> None:
        """Do *work* on every one of *items*; the first error ends it."""
        queue = deque(items)

        async def worker() -> None:
            async with Session(self.settings) as session:
                while queue:
                    await work(session, queue.popleft())

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.parallel, len(queue))):
                    group.create_task(worker())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def portrait(
        self, session: Session, shape: Shape, members: Sequence[Member]
    ) -> Portrait | None:
        """Describe the first of *members* that still has *shape*; the others are left out."""

        async def look(conn: asyncpg.Connection, schema: SchemaRef) -> tuple[Object, ...] | None:
            objects = await describe(conn, schema)
            now = (await fingerprints.taken(conn, [schema.oid])).get(schema.oid)
            return objects if now == (shape.digest, shape.fingerprint) else None

        for member in members:
            schema = SchemaRef(member.oid or 0, member.schema)
            try:
                found = await session.query(lambda conn, of=schema: look(conn, of))  # type: ignore[misc]
            except (MigrationError, asyncpg.PostgresError) as error:
                if is_lost(error):
                    raise
                found = None
            if found is not None:
                return Portrait(member, found)
            self.left_out[member.slug] = CHANGED
        return None

    async def _taken(self, session: Session, batch: Sequence[Member], *, store: bool) -> None:
        oids = [member.oid for member in batch if member.oid]
        try:
            found = await session.query(lambda conn: fingerprints.taken(conn, oids))
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            if len(batch) > 1:  # one of them was dropped or altered at this moment
                for member in batch:
                    await self._taken(session, [member], store=store)
                return
            self.left_out[batch[0].slug] = f"it cannot be read now: {error.args[0]}"
            return
        for member in batch:
            if member.oid in found:
                self.taken[member] = Shape(*found[member.oid])
            else:
                self.left_out[member.slug] = GONE
        if store and found:
            await session.query(lambda conn: fingerprints.store(conn, found))
