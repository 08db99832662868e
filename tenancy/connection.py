"""A connection that forgets.

asyncpg's own reset keeps a role, temporary tables, PREPAREd names, sequence values, codecs and
query loggers. Here a connection goes back only when it remembers nothing; one in an unknown state
is closed.

The names beginning with an underscore that are used here belong to asyncpg 0.32; pyproject.toml
pins it, and tests/unit/test_asyncpg_pin.py fails when they move.
"""

import random
import secrets
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction

from tenancy import statements
from tenancy.identifiers import literal

# Everything a session can remember, as utility statements where there is one: they cost the server
# a few microseconds each, a SELECT tens.
FORGET = (
    "CLOSE ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES; "
    "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL"
)


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """asyncpg's own, but that it looks types up without ``set_config``.

    asyncpg turns the server's jit off for that query and on again. At level ``strict`` nobody may
    call ``set_config``.
    """

    _server_caps: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server_caps = self._server_caps._replace(jit=False)


class ForgetfulConnection(Connection):
    """A connection that one tenant after another uses, and that keeps nothing of either."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clean = True
        self._entered = False
        self._tampered = False
        self._shape = ""
        self._strict = False
        self.may_have_prepared = False
        # Without a cache of ours no name in the server is worth keeping: a pooler lends the session
        # to somebody else, whose names they may be.
        self._deallocate = "" if self._stmt_cache_enabled else "DEALLOCATE ALL; "

    @property
    def is_clean(self) -> bool:
        """Whether it remembers nothing, so that `reset` has nothing to do."""
        return self._clean and not self._listeners and not self.is_closed()

    async def enter(
        self, sql: str, *, readonly: bool, isolation: str | None, shape: str, strict: bool
    ) -> None:
        """Begin a transaction by *sql*, in one round trip; see `pool.Entry`."""
        self._clean = False
        await super().execute(sql)
        self._shape = shape
        # For good: a task that a block has left behind would wait for its end.
        self._strict |= strict
        self.may_have_prepared = False
        self._entered = True
        # Without it asyncpg refuses conn.transaction(), a savepoint here, in a transaction it did
        # not begin.
        self._top_xact = Transaction(self, isolation, readonly, deferrable=False)

    async def leave(self, sql: str) -> str:
        """Commit and forget by *sql*, in one round trip; return the tag of its last command."""
        # Before the answer: a task left behind may run a statement as soon as the server has given
        # it, and must find nothing that is set over its own note.
        self._clean = not self._tampered
        try:
            tag: str = await super().execute(f"{self._deallocate}{sql}")
        except BaseException:
            self._clean = False
            raise
        self._entered = False
        self._top_xact = None
        return tag

    async def reset(self, *, timeout: float | None = None) -> None:
        """Make the connection fit for the next tenant; the pool calls it at every release.

        Costs nothing after `leave`, a round trip after anything else. Raises what fails, and the
        pool then closes the connection. Rolls back and forgets in one message: behind a pooler the
        server's session is somebody else's as soon as the transaction has ended.
        """
        self._entered = False
        self._top_xact = None
        self._listeners.clear()
        self._log_listeners.clear()
        if self._tampered:
            self.terminate()
        elif not self._clean:
            await super().execute(
                f"ROLLBACK; {FORGET}; {self._deallocate}"
                f"SELECT pg_catalog.pg_advisory_unlock_all(), {reseed()}, "
                f"{self.statements_are_ours()}",
                timeout=timeout,
            )
            self._clean = True

    def statements_are_ours(self) -> str:
        """Return SQL that raises unless asyncpg's statements are as asyncpg made them.

        Their names are visible to the session: one tenant could DEALLOCATE one and PREPARE another
        text under its name, which the next tenant's query would then run.
        """
        names = ",".join(s.name for s in self._stmt_cache.iter_statements() if not s.closed)
        ours = f"{literal(f'{{{names}}}')}::pg_catalog.text[]"
        return (
            "CAST(CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_prepared_statement() WHERE from_sql)"
            f" OR EXISTS (SELECT FROM pg_catalog.unnest({ours}) AS own"
            " WHERE own NOT IN (SELECT name FROM pg_catalog.pg_prepared_statement()))"
            " THEN 'tenancy: prepared statements were tampered with' ELSE '0/0' END"
            " AS pg_catalog.pg_lsn)"
        )

    # Ways to the server. Each notes whether it could have PREPAREd something.

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """As asyncpg's, but for two texts that it would fail or hang on."""
        if statements.is_empty(query):
            raise ValueError("the text holds no statement")
        if self._strict and not args and not statements.is_asyncpgs_own(query):
            # By the extended protocol, where no second statement can follow the first.
            _, status, _ = await self._execute(query, (), 0, timeout, return_status=True)
            return str(status.decode())
        if not args and statements.copies_from_stdin(query):
            raise ValueError(
                "COPY FROM STDIN: use conn.copy_to_table or conn.copy_records_to_table"
            )
        self._clean = False
        if not args and not (statements.is_plain(query) and ";" not in query):
            self.may_have_prepared = not self._strict
        result: str = await super().execute(query, *args, timeout=timeout)
        return result

    async def _get_statement(self, query: str, *args: Any, **kwargs: Any) -> Any:
        self._clean = False
        if self._strict:
            statements.admit(query)
        elif not statements.is_plain(query):
            self.may_have_prepared = True
        # asyncpg caches by the text alone. A tenant one migration ahead may have another result for
        # it, which fails inside a transaction, where asyncpg cannot prepare it again.
        text = f"/*{self._shape}*/ {query}" if self._shape else query
        return await super()._get_statement(text, *args, **kwargs)

    async def _copy_out(self, *args: Any) -> Any:
        self._refuse_copy()
        self._clean, self.may_have_prepared = False, True
        return await super()._copy_out(*args)

    async def _copy_in(self, *args: Any) -> Any:
        self._refuse_copy()
        self._clean, self.may_have_prepared = False, True
        return await super()._copy_in(*args)

    def _refuse_copy(self) -> None:
        if self._strict:
            statements.admit("COPY")

    def _get_unique_id(self, prefix: str) -> str:
        # asyncpg counts, so that a tenant could guess the name of another's statement.
        return statements.UNIQUE_NAME.format(prefix, secrets.token_hex(8))

    # What asyncpg keeps on its own side of the wire, and no reset undoes: the connection is closed
    # afterwards. Set codecs once, in Tenancy(connection_init=...).

    async def set_type_codec(self, *args: Any, **kwargs: Any) -> None:
        self._tampered |= self._entered
        await super().set_type_codec(*args, **kwargs)

    async def reset_type_codec(self, *args: Any, **kwargs: Any) -> None:
        self._tampered |= self._entered
        await super().reset_type_codec(*args, **kwargs)

    async def set_builtin_type_codec(self, *args: Any, **kwargs: Any) -> None:
        self._tampered |= self._entered
        await super().set_builtin_type_codec(*args, **kwargs)

    async def prepare(self, query: str, *, name: str | None = None, **kwargs: Any) -> Any:
        # A name of one's own is found by the next tenant, and looks like asyncpg's to the server.
        self._tampered |= self._entered and name is not None
        return await super().prepare(query, name=name, **kwargs)

    def add_query_logger(self, callback: Any) -> None:
        self._tampered |= self._entered
        super().add_query_logger(callback)

    def add_termination_listener(self, callback: Any) -> None:
        self._tampered |= self._entered
        super().add_termination_listener(callback)


def reseed() -> str:
    """Return SQL after which random() no longer follows the seed that a tenant has set."""
    return f"pg_catalog.setseed({random.random():.12f})"  # noqa: S311 - PostgreSQL's is no secret


async def give_back(conn: PoolConnectionProxy, timeout_seconds: float) -> bool:
    """Give *conn* back to its pool if it is clean; return whether it was.

    asyncpg's own release runs in a task, so that a cancellation cannot stop the reset half-way.
    After `ForgetfulConnection.leave` there is nothing to reset, nothing here waits, and the task
    is saved.
    """
    inner: ForgetfulConnection | None = conn._con
    if inner is None or not inner.is_clean:
        return False
    inner._on_release()
    await conn._holder.release(timeout_seconds)
    return True


def is_gone(conn: PoolConnectionProxy) -> bool:
    """Whether *conn* is closed or given back; a proxy of asyncpg's can lose it at any time."""
    return conn._con is None or conn._con.is_closed()


def discard(conn: PoolConnectionProxy) -> None:
    """Close *conn* without a word to the server, because its state is not known."""
    if conn._con is not None:
        conn._con.terminate()
