"""Work on one schema: tried again where that can help, a failure in words where it cannot."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import asyncpg

from tenancy.errors import DatabaseUnavailableError
from tenancy.migrate.files.model import Migration
from tenancy.migrate.ledger.checkpoints import AlreadyAppliedError
from tenancy.migrate.ledger.records import Failure, SchemaRef
from tenancy.migrate.report.events import Backfilling, Event
from tenancy.migrate.upgrade import retry, script, whole
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import Session, backoff, is_lost
from tenancy.migrate.upgrade.waiting import Watcher

Done = TypeVar("Done")


class Persistent:
    """What going up and going down share."""

    def __init__(
        self, session: Session, schema: SchemaRef, watch: Callable[[Event], None] | None
    ) -> None:
        self._session = session
        self._schema = schema
        self._tell = watch or (lambda _: None)
        self._watcher = Watcher(session, schema.name, self._tell)
        self._at: Migration | None = None
        self._progress = 0

    async def _persist(self, work: Callable[[asyncpg.Connection], Awaitable[Done]]) -> Done:
        """Return what *work* returns; it begins anew where it failed, as often as `retry` says."""
        attempt = 0
        async with self._watcher:
            while True:
                progress = self._progress
                try:
                    conn = await self._session.connection()
                    self._watcher.at(conn.get_server_pid())
                    return await work(conn)
                except whole.UnplacedError:
                    continue
                except Exception as error:
                    attempt = attempt + 1 if self._progress == progress else 1
                    if attempt >= retry.attempts(error, self._at):
                        self._raise_final(error)
                        raise
                    if is_lost(error):
                        self._session.discard()
                    elif retry.is_contention(error.__cause__ or error):
                        self._watcher.look()
                await backoff(attempt)

    def _progressed(self) -> None:
        """Note that the next failure is not the last one again."""
        self._progress += 1

    def _told(self, event: Event) -> None:
        if isinstance(event, Backfilling):
            self._progressed()
        self._tell(event)

    def _raise_final(self, error: Exception) -> None:
        """Raise *error* as a failure of this schema, where it is one and does not say so itself."""
        if self._at is None and is_lost(error):
            raise DatabaseUnavailableError("the connection is lost again and again") from error
        if self._at is None:
            return
        if isinstance(error, AlreadyAppliedError):
            reason = f"{error}, but its checkpoint says otherwise: did it end its transaction?"
            raise script.broken(self._at, reason) from error
        if is_lost(error) or isinstance(error, asyncpg.PostgresError):
            failure = script.failed(self._at, error)
            raise MigrationFailedError(self._blocked(failure)) from error
        if isinstance(error, MigrationFailedError):
            error.failure = self._blocked(error.failure)
            error.args = (str(error.failure),)

    def _blocked(self, failure: Failure) -> Failure:
        """Return *failure* with who held the lock, where it is of one."""
        if failure.sqlstate != retry.LOCK_TIMEOUT or not self._watcher.blocker:
            return failure
        return replace(failure, message=f"{failure.message}; held by {self._watcher.blocker}")
