"""One schema's way to the target: lock, read the ledger, and one transaction per file."""

from collections.abc import Callable
from uuid import UUID

import asyncpg

from tenancy.errors import DatabaseUnavailableError
from tenancy.identifiers import quoted
from tenancy.migrate.files.model import Migration, Stage
from tenancy.migrate.ledger import checkpoints
from tenancy.migrate.ledger.checkpoints import AlreadyAppliedError
from tenancy.migrate.ledger.records import SchemaRef
from tenancy.migrate.plan import chain
from tenancy.migrate.plan.chain import Position, Verdict
from tenancy.migrate.report.events import Event
from tenancy.migrate.upgrade import lock, script
from tenancy.migrate.upgrade.script import MigrationFailedError
from tenancy.migrate.upgrade.session import Session, backoff, is_lost

CONTENTION_ATTEMPTS = 8  # at 2 s of lock_timeout each, about half a minute
LOST_ATTEMPTS = 3  # few: a file that brings the server down would do so each time

_CONTENTION = {"55P03", "40P01", "40001"}  # lock timeout, deadlock, serialization
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


async def apply(
    conn: asyncpg.Connection,
    schema: SchemaRef,
    migration: Migration,
    run_id: UUID | None,
    *,
    shared: str,
) -> None:
    """Apply *migration* to *schema* in the open transaction; when that commits, both are there.

    The ledger's row goes first: whoever comes second waits for it, and then does nothing twice. The
    checkpoint goes last, so that a file which ended the transaction has none.

    Raises:
        AlreadyAppliedError: the ledger has it.
        MigrationFailedError: a statement failed, or left its scope.
    """
    role = await checkpoints.record(conn, schema, migration, run_id)
    await script.run(conn, schema, migration, shared=shared, role=role)
    if migration.stage is Stage.SHARED:
        await conn.execute(readable(schema.name))
    await checkpoints.advance(conn, schema, migration)


def readable(shared: str) -> str:
    """Return the SQL that lets everybody who may connect read the shared schema, and no more."""
    schema = quoted(shared)
    return (
        f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC; GRANT USAGE ON SCHEMA {schema} TO PUBLIC; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO PUBLIC; "
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO PUBLIC"
    )


class Upgrade:
    """One schema being brought to the end of its stage's files.

    Args:
        until: the highest version to apply; None: all.
        watch: told of what takes long while it is under way.

    Attributes:
        applied: versions that this upgrade has applied and committed, also when it failed later.
    """

    def __init__(
        self,
        session: Session,
        schema: SchemaRef,
        migrations: tuple[Migration, ...],
        run_id: UUID | None,
        *,
        shared: str,
        until: str | None = None,
        watch: Callable[[Event], None] | None = None,
    ) -> None:
        self.applied: list[str] = []
        self._session = session
        self._schema = schema
        self._migrations = migrations
        self._run_id = run_id
        self._shared = shared
        self._until = until
        self._watch = watch
        self._at: Migration | None = None
        self._unanswered: Migration | None = None  # whose COMMIT was sent

    async def run(self) -> Position:
        """Apply what is pending, again where that can help; return where the schema stands then.

        Raises:
            MigrationFailedError: a file failed, or contention went on for too long.
            LockHeldError: somebody else is at this schema.
            DatabaseUnavailableError: the server cannot be reached.
        """
        attempt = 0
        while True:
            done = len(self.applied)
            try:
                return await self._locked()
            except Exception as error:
                attempt = attempt + 1 if len(self.applied) == done else 1
                if attempt >= _attempts(error):
                    self._raise_final(error)
                    raise
                if is_lost(error):
                    self._session.discard()
            await backoff(attempt)

    async def _locked(self) -> Position:
        conn = await self._session.connection()
        async with lock.held(conn, self._schema.oid):
            position = await self._position(conn)
            while self._goes_on(position):
                await self._step(conn, position.pending[0])
                position = await self._position(conn)
            return position

    def _goes_on(self, position: Position) -> bool:
        if position.verdict is not Verdict.BEHIND:
            return False
        return self._until is None or position.pending[0].version <= self._until

    async def _position(self, conn: asyncpg.Connection) -> Position:
        digest = await checkpoints.digest(conn, self._schema)
        found = chain.position(self._migrations, digest)
        if found is None:
            history = await checkpoints.history(conn, self._schema.oid)
            found = chain.difference(self._migrations, digest, history)
        lost, self._unanswered = self._unanswered, None
        if lost is not None and not found.verdict.refused and lost not in found.pending:
            self.applied.append(lost.version)  # the COMMIT had arrived
        return found

    async def _step(self, conn: asyncpg.Connection, migration: Migration) -> None:
        self._at = migration
        await conn.execute(_BEGIN)
        await apply(conn, self._schema, migration, self._run_id, shared=self._shared)
        self._unanswered = migration
        await _commit(conn, migration)
        self._unanswered = None
        self.applied.append(migration.version)
        await self._session.forget()

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
            raise MigrationFailedError(script.failed(self._at, error)) from error


async def _commit(conn: asyncpg.Connection, migration: Migration) -> None:
    status = await conn.execute("COMMIT", timeout=script.timeout_seconds(migration))
    if status != "COMMIT":
        raise script.broken(migration, f"the server answered {status} to COMMIT")


def _attempts(error: Exception) -> int:
    """Return how often to try in all where *error* ended the last attempt."""
    cause = error.__cause__ if isinstance(error, MigrationFailedError) else error
    if cause is None:
        return 0
    if is_lost(cause) or isinstance(cause, AlreadyAppliedError):
        return LOST_ATTEMPTS
    sqlstate = getattr(cause, "sqlstate", None)
    torn = sqlstate == "XX000" and "tuple concurrently" in str(cause.args[0])
    return CONTENTION_ATTEMPTS if torn or sqlstate in _CONTENTION else 0
